//! The image server.

use std::{fs, time::Duration};

use kilonova_e2e::{
    lab::{Behaviour, Lab, LabOptions, network},
    wait::wait_for,
};

#[tokio::test]
async fn the_image_server_serves_ranges_and_misbehaves_when_told() {
    let lab = Lab::start(LabOptions::bare("images")).await.unwrap();
    let dir = lab.dir().join("images");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("a"), "0123456789").unwrap();
    let server = lab.serve_images(&dir, network::IMAGE_PORT).unwrap();
    let curl = async |args: &[&str]| {
        let mut command = lab.namespaces().command("curl");
        command
            .args(["--silent", "--show-error", "--max-time", "2"])
            .args(args);
        kilonova_e2e::process::run(command, "").await.unwrap()
    };
    let url = server.url("a");
    assert_eq!(curl(&[&url]).await.stdout, "0123456789");
    assert_eq!(curl(&["-r", "2-4", &url]).await.stdout, "234");
    assert_eq!(
        curl(&["-o", "/dev/null", "-w", "%{http_code}", "-r", "50-", &url])
            .await
            .stdout,
        "416"
    );
    assert_eq!(
        curl(&[
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "--path-as-is",
            &server.url("../lab.json")
        ])
        .await
        .stdout,
        "404"
    );
    server.behave("a", Behaviour::DropAfter(4));
    let cut = curl(&[&url]).await;
    assert_eq!(
        (cut.stdout.as_str(), cut.status.code()),
        ("0123", Some(18)),
        "{cut:?}"
    );
    server.behave("a", Behaviour::StallAfter(3));
    let stalled = curl(&[&url]).await;
    assert_eq!(
        (stalled.stdout.as_str(), stalled.status.code()),
        ("012", Some(28)),
        "{stalled:?}"
    );
    let ranges: Vec<_> = server.requests("a").into_iter().map(|r| r.range).collect();
    assert_eq!(
        ranges,
        [
            None,
            Some("bytes=2-4".to_owned()),
            Some("bytes=50-".to_owned()),
            None,
            None
        ]
    );
    drop(server);
    wait_for("the server to end", Duration::from_secs(10), || async {
        let answer = curl(&[&url]).await;
        if answer.status.code() == Some(7) {
            Ok(())
        } else {
            Err(format!("{answer:?}"))
        }
    })
    .await
    .unwrap();
}

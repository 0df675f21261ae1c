//! Cached images, from a real server over the loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use kilonova_agent_storage::ImageError;
use kilonova_crds::v1alpha1::ImageKind;
use std::path::Path;
use std::time::{Duration, Instant};
use support::{Answer, MIB, Node, Server, node, node_with, qcow2, request, request_of, sha256};
use tempfile::TempDir;

/// Half a MiB.
const HALF: usize = 1 << 19;

/// The one part in a cache.
fn part(node: &Node) -> String {
    let part = |name: &String| Path::new(name).extension().is_some_and(|end| end == "part");
    let mut parts = node.cached().into_iter().filter(part);
    let found = parts.next().unwrap();
    assert_eq!(parts.next(), None);
    found
}

#[tokio::test]
async fn however_many_ask_it_comes_once() {
    let (node, file) = (node(), qcow2(4));
    let server = Server::start(file.clone(), &[Answer::Slowly(Duration::from_millis(5))]).await;
    let request = request(&server.url, &sha256(&file));
    let images = node.storage.images();
    assert_eq!(images.find(&request).await.unwrap(), None);
    let asking = (0..8).map(|_| images.ensure(&request));
    let answers = futures::future::join_all(asking).await;
    for answer in &answers {
        let image = answer.as_ref().unwrap();
        assert_eq!(std::fs::read(&image.path).unwrap(), file);
        assert_eq!(image.virtual_size, 64 * MIB);
    }
    images.ensure(&request).await.unwrap();
    assert_eq!(server.seen().len(), 1);
    let found = images.find(&request).await.unwrap().unwrap();
    assert_eq!(Some(&found), answers[0].as_ref().ok());
    assert_eq!(
        node.cached(),
        [found.path.file_name().unwrap().to_str().unwrap()]
    );
}

#[tokio::test]
async fn says_how_far_it_is_and_stops_when_nobody_waits() {
    let (node, file) = (node(), qcow2(4));
    let server = Server::start(file.clone(), &[Answer::Slowly(Duration::from_millis(20))]).await;
    let request = request(&server.url, &sha256(&file));
    let images = node.storage.images().clone();
    assert!(images.progress(&request).is_none());
    let asking = tokio::spawn({
        let (images, request) = (images.clone(), request.clone());
        async move { images.ensure(&request).await }
    });
    let mut progress = loop {
        match images.progress(&request) {
            Some(progress) => break progress,
            None => tokio::task::yield_now().await,
        }
    };
    let begun = progress.wait_for(|at| at.done > MIB).await.unwrap();
    assert_eq!(begun.total, file.len() as u64);
    drop(begun);
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    assert!(images.progress(&request).is_none());

    // The next one goes on from there.
    images.ensure(&request).await.unwrap();
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    let (range, if_range) = &seen[1];
    let from = range
        .as_ref()
        .unwrap()
        .trim_matches(|c: char| !c.is_ascii_digit());
    assert!(from.parse::<u64>().unwrap() > MIB, "{from}");
    assert_eq!(if_range.as_deref(), Some("\"v1\""));
}

#[tokio::test]
async fn goes_on_where_it_broke_off() {
    let (node, file) = (node(), qcow2(4));
    let (first, second) = (2 * HALF, 4 * HALF);
    let answers = [Answer::Break(first), Answer::Stall(second - first)];
    let server = Server::start(file.clone(), &answers).await;
    let request = request(&server.url, &sha256(&file));
    let images = node.storage.images();

    let broken = images.ensure(&request).await.unwrap_err();
    assert!(
        matches!(*broken, ImageError::Broken { done, .. } if done == first as u64),
        "{broken:?}"
    );
    let begun = Instant::now();
    let stalled = images.ensure(&request).await.unwrap_err();
    assert!(
        matches!(*stalled, ImageError::Stalled { done, .. } if done == second as u64),
        "{stalled:?}"
    );
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert!(!stalled.is_permanent() && !broken.is_permanent());
    let image = images.ensure(&request).await.unwrap();
    assert_eq!(std::fs::read(image.path).unwrap(), file);
    let ranges: Vec<_> = server.seen().into_iter().map(|(range, _)| range).collect();
    let expected = [
        None,
        Some(format!("bytes={first}-")),
        Some(format!("bytes={second}-")),
    ];
    assert_eq!(ranges, expected);
    // Nothing came twice.
    assert_eq!(server.sent(), file.len() as u64);
    assert_eq!(node.cached().len(), 1);
}

#[tokio::test]
async fn begins_anew_where_the_server_has_another_file() {
    let (node, old, new) = (node(), qcow2(2), qcow2(4));
    let server = Server::start(old, &[Answer::Break(2 * HALF)]).await;
    let request = request(&server.url, &sha256(&new));
    let images = node.storage.images();
    images.ensure(&request).await.unwrap_err();
    server.replace(new.clone(), "\"v2\"");
    let image = images.ensure(&request).await.unwrap();
    assert_eq!(std::fs::read(image.path).unwrap(), new);
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_part_of_other_bytes_is_given_up() {
    let (node, file) = (node(), qcow2(2));
    let mut other = file.clone();
    other[HALF] ^= 1;
    // The same tag, so that nothing but the checksum tells.
    let server = Server::start(other, &[Answer::Break(2 * HALF)]).await;
    let request = request(&server.url, &sha256(&file));
    let images = node.storage.images();
    images.ensure(&request).await.unwrap_err();
    server.replace(file.clone(), "\"v1\"");
    let image = images.ensure(&request).await.unwrap();
    assert_eq!(std::fs::read(image.path).unwrap(), file);
    let ranges: Vec<_> = server.seen().into_iter().map(|(range, _)| range).collect();
    assert_eq!(ranges, [None, Some(format!("bytes={MIB}-")), None]);
}

#[tokio::test]
async fn a_server_without_ranges_sends_it_again() {
    let (node, file) = (node(), qcow2(2));
    let answers = [Answer::Break(2 * HALF), Answer::Whole];
    let server = Server::start(file.clone(), &answers).await;
    let request = request(&server.url, &sha256(&file));
    let images = node.storage.images();
    images.ensure(&request).await.unwrap_err();
    let image = images.ensure(&request).await.unwrap();
    assert_eq!(std::fs::read(image.path).unwrap(), file);
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_part_that_was_whole_needs_no_more() {
    let (node, file) = (node(), qcow2(1));
    let server = Server::start(file.clone(), &[Answer::Break(HALF)]).await;
    let request = request(&server.url, &sha256(&file));
    let images = node.storage.images();
    images.ensure(&request).await.unwrap_err();
    let part = part(&node);
    std::fs::write(node.directory.path().join("state/images").join(part), &file).unwrap();
    let image = images.ensure(&request).await.unwrap();
    assert_eq!(std::fs::read(image.path).unwrap(), file);
    assert_eq!(node.cached().len(), 1);
    assert_eq!(server.sent(), HALF as u64);
}

#[tokio::test]
async fn other_bytes_than_the_checksums_are_thrown_away() {
    let (node, file) = (node(), qcow2(1));
    let server = Server::start(file.clone(), &[]).await;
    let wrong = sha256(b"something else");
    let request = request(&server.url, &wrong);
    let error = node.storage.images().ensure(&request).await.unwrap_err();
    match &*error {
        ImageError::ChecksumMismatch { expected, actual } => {
            assert_eq!((expected, actual), (&wrong, &sha256(&file)));
        }
        other => unreachable!("{other:?}"),
    }
    assert!(error.is_permanent());
    assert_eq!(node.cached(), [""; 0]);
}

#[tokio::test]
async fn what_is_no_harmless_image_is_thrown_away() {
    let node = node();
    let secret = node.directory.path().join("secret");
    std::fs::write(&secret, vec![7; 2 * HALF]).unwrap();
    let image = node.directory.path().join("image");
    let (secret, path) = (secret.to_str().unwrap(), image.to_str().unwrap());
    support::run(
        "qemu-img",
        &[
            "create", "-q", "-f", "qcow2", "-F", "raw", "-b", secret, path, "64M",
        ],
    );
    let attack = std::fs::read(&image).unwrap();
    support::run("qemu-img", &["create", "-q", "-f", "qcow2", path, "65M"]);
    let larger = std::fs::read(&image).unwrap();
    for (file, expected) in [
        (attack, "it has a backing file"),
        (larger, "its disk has 68157440 bytes, not 67108864"),
        (b"<html>".to_vec(), "declared as qcow2"),
    ] {
        let server = Server::start(file.clone(), &[]).await;
        let request = request(&server.url, &sha256(&file));
        let error = node.storage.images().ensure(&request).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.is_permanent());
        assert_eq!(node.cached(), [""; 0]);
    }
}

#[tokio::test]
async fn a_file_far_larger_than_its_disk_is_not_fetched() {
    let node = node();
    let server = Server::start(vec![0; 400 * HALF], &[]).await;
    let request = request(&server.url, &sha256(b""));
    let error = node.storage.images().ensure(&request).await.unwrap_err();
    assert!(matches!(*error, ImageError::BadHeader { .. }), "{error:?}");
    assert_eq!(node.cached(), [""; 0]);
}

#[tokio::test]
async fn says_what_the_server_said() {
    let (node, file) = (node(), qcow2(1));
    let answers = [Answer::Status(404), Answer::Status(503)];
    let server = Server::start(file.clone(), &answers).await;
    let asked = request(&server.url, &sha256(&file));
    let images = node.storage.images();
    let missing = images.ensure(&asked).await.unwrap_err();
    assert!(matches!(*missing, ImageError::NotFound), "{missing:?}");
    let busy = images.ensure(&asked).await.unwrap_err();
    assert!(matches!(*busy, ImageError::Status(503)), "{busy:?}");
    let nobody = request("http://127.0.0.1:1/image", &sha256(b"x"));
    let nobody = images.ensure(&nobody).await.unwrap_err();
    assert!(matches!(*nobody, ImageError::Unreachable(_)), "{nobody:?}");
    assert_eq!(node.cached(), [""; 0]);
    images.ensure(&asked).await.unwrap();
}

#[tokio::test]
async fn a_server_that_always_lies_is_asked_once_more_and_no_oftener() {
    let (node, file) = (node(), qcow2(2));
    let mut other = file.clone();
    other[3 * HALF] ^= 1;
    let server = Server::start(other, &[Answer::Break(HALF)]).await;
    let request = request(&server.url, &sha256(&file));
    let images = node.storage.images();
    images.ensure(&request).await.unwrap_err();
    let wrong = images.ensure(&request).await.unwrap_err();
    assert!(
        matches!(*wrong, ImageError::ChecksumMismatch { .. }),
        "{wrong:?}"
    );
    // The part, its rest, and all of it anew.
    assert_eq!(server.seen().len(), 3);
    assert_eq!(server.sent(), 2 * file.len() as u64);
    assert_eq!(node.cached(), [""; 0]);
}

#[tokio::test]
async fn a_body_without_an_end_fills_no_disk() {
    let (node, file) = (node(), qcow2(1));
    let answers = [Answer::Break(HALF), Answer::Endless];
    let server = Server::start(file.clone(), &answers).await;
    let request = request(&server.url, &sha256(&file));
    let images = node.storage.images();
    images.ensure(&request).await.unwrap_err();
    let image = images.ensure(&request).await.unwrap();
    assert_eq!(std::fs::read(image.path).unwrap(), file);
}

#[tokio::test]
async fn a_length_that_nobody_tells_is_not_waited_for() {
    let (node, file) = (node(), qcow2(1));
    let server = Server::start(file.clone(), &[Answer::Endless]).await;
    let request = request(&server.url, &sha256(&file));
    let images = node.storage.images();
    let refused = images.ensure(&request).await.unwrap_err();
    assert!(
        matches!(*refused, ImageError::Unreachable(_)),
        "{refused:?}"
    );
    assert_eq!(node.cached(), [""; 0]);
}

#[tokio::test]
async fn who_sends_a_byte_now_and_then_is_given_up() {
    let (node, file) = (node(), qcow2(1));
    let server = Server::start(file.clone(), &[Answer::Drip(HALF)]).await;
    let request = request(&server.url, &sha256(&file));
    let images = node.storage.images();
    let slow = images.ensure(&request).await.unwrap_err();
    assert!(matches!(*slow, ImageError::Stalled { .. }), "{slow:?}");
    assert!(!slow.is_permanent());
    // What the last of it was, zeros, the checksum tells: then it comes as a whole.
    let image = images.ensure(&request).await.unwrap();
    assert_eq!(std::fs::read(image.path).unwrap(), file);
}

/// Whoever knows an operator's checksum may name another server for it.
#[tokio::test]
async fn a_server_that_stalls_keeps_nobody_from_another() {
    let (node, file) = (node(), qcow2(2));
    let stalling = Server::start(file.clone(), &[Answer::Stall(HALF)]).await;
    let good = Server::start(file.clone(), &[]).await;
    let stalled = request(&stalling.url, &sha256(&file));
    let images = node.storage.images().clone();
    let asking = tokio::spawn({
        let (images, stalled) = (images.clone(), stalled.clone());
        async move { images.ensure(&stalled).await }
    });
    while images
        .progress(&stalled)
        .is_none_or(|at| at.borrow().done == 0)
    {
        tokio::task::yield_now().await;
    }
    let request = request(&good.url, &sha256(&file));
    let image = images.ensure(&request).await.unwrap();
    assert_eq!(std::fs::read(image.path).unwrap(), file);
    asking.await.unwrap().unwrap_err();
    // It is here now, whoever asks.
    images.ensure(&stalled).await.unwrap();
    assert_eq!(stalling.seen().len(), 1);
}

#[tokio::test]
async fn only_an_operators_image_comes_from_where_tenants_may_not() {
    let (node, file) = (node_with(TempDir::new().unwrap(), &[]), qcow2(1));
    let server = Server::start(file.clone(), &[]).await;
    let images = node.storage.images();
    let asked = |kind| request_of(kind, &server.url, &sha256(&file));
    let refused = images.ensure(&asked(ImageKind::Image)).await.unwrap_err();
    assert!(
        matches!(*refused, ImageError::Unreachable(_)),
        "{refused:?}"
    );
    assert_eq!(server.seen().len(), 0);
    images
        .ensure(&asked(ImageKind::ClusterImage))
        .await
        .unwrap();
    assert_eq!(server.seen().len(), 1);
}

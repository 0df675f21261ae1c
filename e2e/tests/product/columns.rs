//! b60: what `kubectl get` shows of a guest that runs and of one that waits.

use serde_json::json;

use crate::{cloud, kubectl, kubectl_with, manifest};

/// The cells of the row with this name, by the columns of its table's head.
fn row(table: &str, name: &str) -> Vec<(String, String)> {
    let tables = table.split("\n\n");
    let found = tables.filter_map(|table| {
        let (head, rows) = table.trim_start().split_once('\n')?;
        let row = rows
            .lines()
            .find(|row| row.split(' ').next() == Some(name))?;
        Some(cells(head, row))
    });
    let found: Vec<_> = found.collect();
    let [row] = found.as_slice() else {
        panic!("not one row {name} in:\n{table}");
    };
    row.clone()
}

/// Each column begins where its title does, and ends where the next one begins.
fn cells(head: &str, row: &str) -> Vec<(String, String)> {
    let mut cells = Vec::new();
    let mut rest = head;
    while !rest.is_empty() {
        let start = head.len() - rest.len();
        let title = rest.split("  ").next().unwrap();
        rest = rest[title.len()..].trim_start();
        let end = if rest.is_empty() {
            row.len()
        } else {
            head.len() - rest.len()
        };
        let cell = row.get(start..end.min(row.len())).unwrap_or_default();
        cells.push((title.trim().to_owned(), cell.trim().to_owned()));
    }
    cells
}

fn cell<'a>(row: &'a [(String, String)], title: &str) -> &'a str {
    let found = row.iter().find(|(name, _)| name == title);
    &found
        .unwrap_or_else(|| panic!("no column {title} in {row:?}"))
        .1
}

/// As kubectl writes an age: `9s`, `2m3s`.
fn is_age(text: &str) -> bool {
    let digits = text.chars().filter(char::is_ascii_digit).count();
    digits > 0
        && text
            .chars()
            .all(|c| c.is_ascii_digit() || "smhd".contains(c))
}

#[tokio::test]
async fn b60_get_shows_power_ready_address_node_flavor_and_age() {
    let cloud = cloud().await;
    let shop = cloud.tenant("shown").await.unwrap();
    let web = shop.create("web-1", json!({})).await.unwrap();
    web.ready("Running").await.unwrap();
    let ip = web.ip().await.unwrap();

    let all = kubectl(&cloud, "shown", &["get", "inst,hv,network"]).await;
    let seen = row(&all, "instance.kilonova.dev/web-1");
    for (title, value) in [
        ("POWER", "Running"),
        ("READY", "True"),
        ("ADDRESSES", &ip),
        ("NODE", "node-1"),
        ("FLAVOR", "tiny"),
        ("IMAGE", "guest"),
    ] {
        assert_eq!(cell(&seen, title), value, "{title} in {all}");
    }
    assert!(is_age(cell(&seen, "AGE")), "{all}");

    let node = row(&all, "hypervisor.kilonova.dev/node-1");
    assert_eq!(
        (cell(&node, "READY"), cell(&node, "VIRT")),
        ("True", "qemu"),
        "{all}"
    );
    let cores = cloud.lab().node(0).sh("nproc").await.unwrap();
    assert_eq!(cell(&node, "VCPUS"), cores.trim(), "{all}");
    assert!(
        !cell(&node, "MEMORY").is_empty() && !cell(&node, "DISK").is_empty(),
        "{all}"
    );
    let network = row(&all, "network.kilonova.dev/blue");
    for (title, value) in [
        ("CLASS", "local"),
        ("CIDR", "10.0.0.0/24"),
        ("READY", "True"),
    ] {
        assert_eq!(cell(&network, title), value, "{title} in {all}");
    }

    // What is shown follows what is so.
    web.power("Off").await.unwrap();
    web.ready("Stopped").await.unwrap();
    let off = kubectl(&cloud, "shown", &["get", "inst"]).await;
    let off = row(&off, "web-1");
    assert_eq!(
        (cell(&off, "POWER"), cell(&off, "READY")),
        ("Shutoff", "True")
    );
    assert_eq!(cell(&off, "ADDRESSES"), ip, "it is kept");
    shop.close().await.unwrap();
}

#[tokio::test]
async fn b60_wide_says_why_something_waits() {
    let cloud = cloud().await;
    let shop = cloud.tenant("waiting").await.unwrap();
    let huge = json!({"vcpus": 1, "memory": "32Ti", "disk": "256Mi"});
    let huge = json!({"apiVersion": "kilonova.dev/v1alpha1", "kind": "Flavor", "metadata": {"name": "huge"}, "spec": huge});
    let waiting = [
        (
            "big",
            json!({"flavor": "huge"}),
            "0/1 hypervisors: 1 too little memory",
        ),
        (
            "lost",
            json!({"interfaces": [{"name": "eth0", "network": "green"}]}),
            "green",
        ),
        (
            "bare",
            json!({"image": {"kind": "Image", "name": "none"}}),
            "none",
        ),
    ];
    cloud.apply(&[huge]).await.unwrap();
    for (name, spec, _) in waiting.clone() {
        let applied = kubectl_with(&cloud, "waiting", &["apply"], &manifest(name, spec)).await;
        applied.checked().unwrap();
    }
    for (name, _, why) in waiting {
        let told = [
            "wait",
            "--for=jsonpath={.status.conditions[?(@.type==\"Ready\")].status}=False",
        ];
        let object = format!("inst/{name}");
        kubectl(
            &cloud,
            "waiting",
            &[&told[..], &[&object, "--timeout=120s"]].concat(),
        )
        .await;
        let wide = kubectl(&cloud, "waiting", &["get", "inst", "-o", "wide"]).await;
        let row = row(&wide, name);
        assert_eq!(
            (cell(&row, "POWER"), cell(&row, "NODE"), cell(&row, "READY")),
            ("", "", "False"),
            "{wide}"
        );
        assert!(cell(&row, "REASON").contains(why), "{why:?} in {wide}");
    }
    shop.close().await.unwrap();
    kubectl(&cloud, "default", &["delete", "flavor", "huge"]).await;
}

//! What passes the tap of an Instance.

use kilonova_e2e::{
    cloud::{Cloud, InstanceHandle},
    process::{Launch, Service},
    wait::{GENEROUS, wait_while},
};

/// A tcpdump that runs until it is dropped. What the guest sends shows before any rule may drop it; what is sent to the
/// guest, after all of them. TCP does not show: it is we who talk by ssh.
pub struct Capture(Service);

impl Capture {
    /// At the tap of an Instance, from now on.
    pub async fn at(cloud: &Cloud, guest: &InstanceHandle<'_>) -> Self {
        let (netns, tap) = (guest.netns().await.unwrap(), guest.tap().await.unwrap());
        let log = cloud.lab().dir().join(format!("logs/capture-{tap}.log"));
        let launch = Launch::new(guest.node().await.unwrap().namespaces(), "ip");
        let launch = launch.args(["netns", "exec", &netns, "tcpdump", "-i", &tap]);
        let launch = launch.args(["-e", "-nn", "-l", "--immediate-mode", "not", "tcp"]);
        let capture = Self(Service::new(format!("tcpdump {tap}"), log, launch));
        capture.0.start().unwrap();
        capture.until("listening on").await;
        capture
    }

    /// Waits until a line with this in it is there.
    pub async fn until(&self, text: &str) {
        let what = format!("{text:?} on the wire");
        wait_while(
            || self.0.check(),
            what,
            GENEROUS,
            || async {
                let seen = self.0.log();
                if seen.contains(text) {
                    Ok(())
                } else {
                    Err(seen)
                }
            },
        )
        .await
        .unwrap();
    }

    /// The lines so far with this in them.
    pub fn lines(&self, text: &str) -> Vec<String> {
        let seen = self.0.log();
        let lines = seen.lines().filter(|line| line.contains(text));
        lines.map(str::to_owned).collect()
    }
}

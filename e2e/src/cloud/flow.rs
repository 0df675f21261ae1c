//! Echo requests without an end, to see whether a packet is lost while something happens.

use super::InstanceHandle;
use crate::{
    Result,
    wait::{GENEROUS, wait_for},
};

/// A guest's echo requests to an address, ten a second.
#[derive(Debug)]
pub struct Flow<'a> {
    guest: &'a InstanceHandle<'a>,
    log: String,
}

impl<'a> Flow<'a> {
    /// Starts to ask; one at a time for each guest and address.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub async fn start(guest: &'a InstanceHandle<'a>, address: &str) -> Result<Self> {
        let log = format!("/tmp/ping-{address}");
        let script =
            format!("setsid ping -i 0.1 {address} > {log} 2>&1 < /dev/null & echo $! > {log}.pid");
        guest.sh(&script).await?;
        Ok(Self { guest, log })
    }

    /// The numbers of the answers so far, in the order in which they came.
    async fn answers(&self) -> Result<Vec<u64>> {
        let script = format!("sed -n 's/.* seq=\\([0-9]*\\) .*/\\1/p' {}", self.log);
        let said = self.guest.sh(&script).await?;
        Ok(said.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// Waits until twenty more have come.
    ///
    /// # Errors
    /// When they do not come.
    pub async fn goes_on(&self) -> Result<()> {
        let so_far = self.answers().await?.len();
        let what = format!("more answers to {} in {}", self.guest.name(), self.log);
        wait_for(what, GENEROUS, || async {
            match self.answers().await {
                Ok(now) if now.len() >= so_far + 20 => Ok(()),
                Ok(now) => Err(format!("{} answers", now.len())),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }

    /// Ends it, and gives the numbers of all answers, in the order in which they came: from 0 on, each once, where
    /// nothing was lost.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub async fn end(self) -> Result<Vec<u64>> {
        let answers = self.answers().await?;
        let kill = format!("kill $(cat {}.pid)", self.log);
        self.guest.sh(&kill).await?;
        Ok(answers)
    }
}

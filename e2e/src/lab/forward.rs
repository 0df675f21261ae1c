//! The way from the user's own shell into the lab: a port on the machine's loopback, forwarded to the API server.
//!
//! A socket belongs for life to the network namespace it was made in. So the listening socket is made first, then the
//! thread enters the lab's namespace, and all connections onwards are made there.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener},
    path::Path,
};

use nix::sched::{CloneFlags, setns};
use tokio::net::TcpStream;

use crate::{Error, Result};

/// Forwards from `listen` (in the caller's network namespace) to `to` (in `netns`) until the process ends. The address
/// that it listens on is written to `report` when everything is ready.
///
/// # Errors
/// When it cannot be set up.
pub fn run(listen: SocketAddr, netns: &Path, to: SocketAddr, report: &Path) -> Result<()> {
    let failed = |source| Error::Start {
        program: format!("a forwarder at {listen}"),
        source,
    };
    let listener = TcpListener::bind(listen).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let namespace = File::open(netns).map_err(Error::file("open", netns))?;
    setns(namespace, CloneFlags::CLONE_NEWNET)
        .map_err(Error::system("enter the lab's network namespace"))?;
    // One thread, this one: it is the one that has entered the namespace.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
        let part = report.with_extension("part");
        fs::write(&part, address.to_string()).map_err(Error::file("write", &part))?;
        fs::rename(&part, report).map_err(Error::file("rename", &part))?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(pass(stream, to))),
                // Out of file descriptors, most likely: others end, then it goes on.
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    })
}

/// One connection. That a side hangs up is the ordinary end of it.
async fn pass(mut from: TcpStream, to: SocketAddr) {
    match TcpStream::connect(to).await {
        Ok(mut to) => {
            let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
        }
        Err(error) => tracing::debug!(%error, "no connection onwards"),
    }
}

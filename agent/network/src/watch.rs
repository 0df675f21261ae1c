//! What others change in the netns of Segments, and in the node's own as far as it concerns
//! Segments: the kernel tells, so that it is looked at at once and not when its turn comes.
//!
//! What this process changes is told too; it is looked at once more then, and nothing is found. A
//! socket keeps its netns alive: each ends with its Segment, or when the netns's file goes.

use crate::netns::{self, NetnsError, NetnsId};
use crate::{Error, Network};
use kilonova_agent_core::hypervisor::NicInNetwork;
use kilonova_agent_core::network::rules::TABLE;
use kilonova_agent_core::network::{LinkObserved, Netns};
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

/// How long what is told is gathered before anybody looks: one change is many messages.
const SETTLE: Duration = Duration::from_millis(100);
/// The same for the node's own netns, where much else happens, and all of it is read each time.
const NODE_SETTLE: Duration = Duration::from_millis(500);
/// How long to wait where the kernel cannot be listened to.
const RETRY: Duration = Duration::from_secs(10);
/// Largest message that is read whole: the kernel's own are a page or two.
const MESSAGE: usize = 32 << 10;

/// Where something changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// In a Segment's netns.
    Segment(Netns),
    /// In the node's own: a NIC in a physical network, the way out of a Segment, or a rule of ours.
    Node,
}

/// NICs in physical networks, and the ways out of Segments.
type Concern = (Vec<NicInNetwork>, BTreeMap<String, LinkObserved>);

/// Who listens, where.
#[derive(Debug)]
pub struct Watches {
    tell: UnboundedSender<Change>,
    told: tokio::sync::Mutex<UnboundedReceiver<Change>>,
    running: Mutex<BTreeMap<Netns, Watch>>,
}

/// A task that listens in one netns; it ends with this.
#[derive(Debug)]
struct Watch {
    netns: NetnsId,
    task: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Default for Watches {
    fn default() -> Self {
        let (tell, told) = unbounded_channel();
        Self {
            tell,
            told: tokio::sync::Mutex::new(told),
            running: Mutex::default(),
        }
    }
}

impl Watches {
    /// Listens in a Segment's netns, unless somebody does.
    pub async fn start(&self, netns: &Netns) {
        let id = netns::id(&netns::path(netns));
        let runs = |watch: &Watch| Some(watch.netns) == id && !watch.task.is_finished();
        let Some(id) = id.filter(|_| !self.running.lock().get(netns).is_some_and(runs)) else {
            return;
        };
        match Ears::open(Some(netns)).await {
            Ok(ears) => {
                let change = Change::Segment(netns.clone());
                let task = tokio::spawn(listen(ears, self.tell.clone(), change));
                let watch = Watch { netns: id, task };
                self.running.lock().insert(netns.clone(), watch);
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(%netns, error, "what others change here is seen later");
            }
        }
    }

    /// Listens there no more. Gives whether anybody did.
    pub fn stop(&self, netns: &Netns) -> bool {
        self.running.lock().remove(netns).is_some()
    }
}

impl Network {
    /// Tells of what others change, for ever.
    pub async fn heed(&self, tell: impl Fn(Change)) {
        let segments = async {
            let mut told = self.watches.told.lock().await;
            while let Some(change) = told.recv().await {
                tell(change);
            }
        };
        tokio::join!(segments, self.heed_node(&tell), self.heed_files());
    }

    async fn heed_node(&self, tell: &impl Fn(Change)) {
        let mut before = self.concern().await.ok();
        loop {
            match Ears::open(None).await {
                Ok(ears) => self.listen_to_node(&ears, &mut before, tell).await,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "what others change on the node is seen later");
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Much happens in the node's netns that is nobody's business here. `before`: what concerned
    /// Segments when it was last looked at, which may be before anybody listened.
    async fn listen_to_node(
        &self,
        ears: &Ears,
        before: &mut Option<Concern>,
        tell: &impl Fn(Change),
    ) {
        let mut rules = false;
        loop {
            let now = self.concern().await.ok();
            if rules || now != *before {
                tell(Change::Node);
            }
            *before = now;
            let Ok(heard) = ears.hear().await else {
                return;
            };
            tokio::time::sleep(NODE_SETTLE).await;
            rules = ears.rules.drain() || heard == Heard::Rules;
            ears.links.drain();
        }
    }

    /// What of the node's netns concerns Segments.
    async fn concern(&self) -> Result<Concern, Error> {
        Ok((self.nics().await, self.transit_links().await?))
    }

    /// Lets go of a netns whose file somebody removes, and tells of it.
    async fn heed_files(&self) {
        let mut removed = match removed_files() {
            Ok(removed) => removed,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "netns that others remove are seen later");
                return;
            }
        };
        while let Some(netns) = removed.recv().await {
            if self.watches.stop(&netns) {
                // The other end lives as long as this does.
                let _ = self.watches.tell.send(Change::Segment(netns));
            }
        }
    }
}

/// Tells of changes in one netns until nobody listens.
async fn listen(ears: Ears, tell: UnboundedSender<Change>, change: Change) {
    while ears.hear().await.is_ok() {
        tokio::time::sleep(SETTLE).await;
        ears.links.drain();
        ears.rules.drain();
        if tell.send(change.clone()).is_err() {
            return;
        }
    }
}

/// What was told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Links,
    Rules,
}

/// Two sockets in one netns: one hears of links, addresses and routes, one of nft's rules.
struct Ears {
    links: Ear,
    rules: Ear,
}

impl Ears {
    async fn open(netns: Option<&Netns>) -> Result<Self, NetnsError> {
        let opened = netns::within(netns, || {
            io::Result::Ok(Self {
                links: Ear::open(NETLINK_ROUTE, LINK_GROUPS, b"")?,
                rules: Ear::open(NETLINK_NETFILTER, RULE_GROUPS, TABLE.as_bytes())?,
            })
        });
        opened.await?.map_err(NetnsError::Thread)
    }

    async fn hear(&self) -> io::Result<Heard> {
        tokio::select! {
            heard = self.links.hear() => heard.map(|()| Heard::Links),
            heard = self.rules.hear() => heard.map(|()| Heard::Rules),
        }
    }
}

/// The groups of `linux/rtnetlink.h`: links, addresses and routes of both families.
const LINK_GROUPS: u32 = group(1) | group(5) | group(7) | group(9) | group(11);
/// The group of `linux/netfilter/nfnetlink.h`: changes of rules.
const RULE_GROUPS: u32 = group(7);

const fn group(number: u32) -> u32 {
    1 << (number - 1)
}

/// A socket that the kernel tells of changes.
struct Ear {
    socket: TokioSocket,
    /// What a message has in it that counts: our table's name, which our rules in the chains of
    /// others bear too.
    mark: &'static [u8],
}

impl Ear {
    fn open(protocol: isize, groups: u32, mark: &'static [u8]) -> io::Result<Self> {
        let mut socket = TokioSocket::new(protocol)?;
        socket.socket_mut().bind(&SocketAddr::new(0, groups))?;
        Ok(Self { socket, mark })
    }

    /// Waits until something that counts is told.
    async fn hear(&self) -> io::Result<()> {
        let mut message = Vec::with_capacity(MESSAGE);
        loop {
            message.clear();
            match self.socket.recv(&mut message).await {
                Ok(()) if self.counts(&message) => return Ok(()),
                Ok(()) => {}
                // Some was lost: it may have counted.
                Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes in all that was told. Gives whether any of it counts.
    fn drain(&self) -> bool {
        let mut counts = false;
        let mut message = Vec::with_capacity(MESSAGE);
        loop {
            message.clear();
            match self.socket.socket_ref().recv(&mut message, 0) {
                Ok(_) => counts |= self.counts(&message),
                // Nothing is left, or what is left will be heard.
                Err(_) => return counts,
            }
        }
    }

    fn counts(&self, message: &[u8]) -> bool {
        self.mark.is_empty()
            || message
                .windows(self.mark.len())
                .any(|part| part == self.mark)
    }
}

/// Tells, on a thread of its own, of the files of Segments' netns that are removed.
fn removed_files() -> Result<UnboundedReceiver<Netns>, NetnsError> {
    let path = netns::directory()?;
    let kernel = |source| NetnsError::Kernel {
        what: "inotify",
        path: path.to_owned(),
        source,
    };
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC).map_err(kernel)?;
    inotify
        .add_watch(path, AddWatchFlags::IN_DELETE)
        .map_err(kernel)?;
    let (tell, told) = unbounded_channel();
    let listen = move || {
        while let Ok(events) = inotify.read_events() {
            let names = events.into_iter().filter_map(|event| event.name);
            let netns = names.filter_map(|name| Netns::parse(name.to_str()?).ok());
            for netns in netns {
                if tell.send(netns).is_err() {
                    return;
                }
            }
        }
    };
    std::thread::Builder::new()
        .name("netns files".to_owned())
        .spawn(listen)
        .map_err(NetnsError::Thread)?;
    Ok(told)
}

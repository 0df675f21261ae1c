//! The cached images, `<state-dir>/images`: files named by their checksum, so that a name always
//! means the same bytes. What has such a name is whole and checked.
//!
//! - [`request`]: what is asked for. - [`part`]: a file on its way. - [`fetch`]: bringing one here.
//! - [`room`]: removing what nobody uses.

mod error;
mod fetch;
mod part;
mod request;
mod room;

pub use error::ImageError;
pub use request::{CachedImage, ImageRequest};

use crate::instance::Instances;
use crate::{Bases, Error, files};
use fetch::Fetch;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use kilonova_common::http_source::HttpSource;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// How far a download is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are here.
    pub done: u64,
    /// Bytes of all of it; 0 until the server answered.
    pub total: u64,
}

/// What all who ask for an image wait for.
type Answer = Result<CachedImage, Arc<ImageError>>;
type Flight = BoxFuture<'static, Answer>;

/// The cached images. Clones are one handle.
#[derive(Clone, Debug)]
pub struct Images {
    root: PathBuf,
    http: HttpSource,
    instances: Instances,
    bases: Bases,
    /// By the download's name.
    flights: Arc<Mutex<HashMap<String, Download>>>,
}

/// A download that goes on while anyone waits for it.
#[derive(Debug)]
struct Download {
    flight: WeakShared<Flight>,
    progress: watch::Receiver<Progress>,
}

impl Images {
    pub(crate) fn new(root: PathBuf, http: HttpSource, instances: Instances, bases: Bases) -> Self {
        Self {
            root,
            http,
            instances,
            bases,
            flights: Arc::default(),
        }
    }

    /// The image, where it is here. Reads the start of its file.
    ///
    /// # Errors
    /// When the file that is here cannot be read, or is not the image that is asked for.
    pub async fn find(&self, request: &ImageRequest) -> Result<Option<CachedImage>, ImageError> {
        let (path, request) = (self.root.join(request.file_name()), request.clone());
        let found = files::blocking(move || Ok(part::find(&path, &request)));
        found.await?
    }

    /// The image, fetched where it is not here: once from one place, however many ask. The download ends when all
    /// who asked have dropped their futures; what came is kept for the next try.
    ///
    /// # Errors
    /// The same error to all who asked.
    pub async fn ensure(&self, request: &ImageRequest) -> Result<CachedImage, Arc<ImageError>> {
        if let Some(image) = self.find(request).await? {
            room::touch(&image.path);
            return Ok(image);
        }
        let image = self.flight(request).await?;
        // Another may have asked with another virtual size.
        request.check_size(image.virtual_size)?;
        Ok(image)
    }

    /// How far the download of an image is; `None` where none is under way.
    #[must_use]
    pub fn progress(&self, request: &ImageRequest) -> Option<watch::Receiver<Progress>> {
        let flights = self.flights.lock();
        let download = flights.get(&request.download_name())?;
        // Where nobody waits any more it does not go on.
        let goes_on = download.flight.upgrade().is_some();
        goes_on.then(|| download.progress.clone())
    }

    /// What the cached images, and downloads under way, take on the node, in bytes.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub async fn used(&self) -> Result<u64, Error> {
        let root = self.root.clone();
        files::blocking(move || room::used(&root)).await
    }

    /// Removes images that no root disk is over, the longest unused first, until `bytes` are free.
    /// Returns how many are free then. [`Self::ensure`] does so by itself.
    ///
    /// # Errors
    /// When the root disks cannot all be read: then nothing is removed.
    pub async fn make_room(&self, bytes: u64) -> Result<u64, Error> {
        let _no_disk_is_made = self.bases.write().await;
        let (root, instances) = (self.root.clone(), self.instances.clone());
        files::blocking(move || room::make(&root, &instances, bytes)).await
    }

    /// The download of an image: the one that is under way, or a new one.
    fn flight(&self, request: &ImageRequest) -> Shared<Flight> {
        let name = request.download_name();
        let mut flights = self.flights.lock();
        if let Some(flight) = flights.get(&name).and_then(|d| d.flight.upgrade()) {
            return flight;
        }
        let (sender, progress) = watch::channel(Progress::default());
        let fetch = Fetch::new(self.clone(), request.clone(), sender);
        let (all, key) = (Arc::clone(&self.flights), name.clone());
        let flight = async move {
            let answer = fetch.run().await.map_err(Arc::new);
            // Those who wait have it; who asks from now on looks anew.
            all.lock().remove(&key);
            answer
        };
        let flight = flight.boxed().shared();
        if let Some(weak) = flight.downgrade() {
            let download = Download {
                flight: weak,
                progress,
            };
            flights.insert(name, download);
        }
        flight
    }
}

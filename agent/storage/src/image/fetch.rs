//! Bringing an image here.

use super::part::{Origin, Part};
use super::request::{CachedImage, ImageRequest};
use super::{ImageError, Images, Progress};
use crate::{Error, capacity, files};
use kilonova_common::http_source::{Download, FetchError};
use std::path::PathBuf;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Pieces that may wait to be written, of some ten kilobytes each.
const QUEUE: usize = 64;
/// Bytes that are left free beside an image: for records, config drives, logs.
const RESERVE: u64 = 64 << 20;

/// One download.
pub(super) struct Fetch {
    images: Images,
    request: ImageRequest,
    target: PathBuf,
    /// What the part's name begins with.
    download: PathBuf,
    progress: watch::Sender<Progress>,
}

impl Fetch {
    pub(super) fn new(
        images: Images,
        request: ImageRequest,
        progress: watch::Sender<Progress>,
    ) -> Self {
        Self {
            target: images.root.join(request.file_name()),
            download: images.root.join(request.download_name()),
            images,
            request,
            progress,
        }
    }

    /// Brings the image here. Where this is dropped, what came stays, and is gone on from.
    pub(super) async fn run(self) -> Result<CachedImage, ImageError> {
        let part = self.open().await?;
        // Who had the part before may have finished it.
        if let Some(image) = self.images.find(&self.request).await? {
            files::blocking(move || part.discard()).await?;
            return Ok(image);
        }
        let resumed = part.length() > 0;
        let part = self.complete(part).await?;
        match self.finish(part).await {
            // What was there may be of another file than what came now.
            Err(ImageError::ChecksumMismatch { .. }) if resumed => {
                let part = self.complete(self.open().await?).await?;
                self.finish(part).await
            }
            done => done,
        }
    }

    async fn open(&self) -> Result<Part, ImageError> {
        let (download, checksum) = (self.download.clone(), self.request.checksum().clone());
        Ok(files::blocking(move || Part::open(&download, &checksum)).await?)
    }

    async fn finish(&self, part: Part) -> Result<CachedImage, ImageError> {
        let (request, target) = (self.request.clone(), self.target.clone());
        files::blocking(move || Ok(part.finish(&target, &request))).await?
    }

    /// Fetches what a part lacks.
    async fn complete(&self, mut part: Part) -> Result<Part, ImageError> {
        let url = self.request.url();
        let etag = part.origin().filter(|origin| origin.url == url);
        let etag = etag.map(|origin| origin.etag);
        let (http, from) = (&self.images.http, part.length());
        let file = self.request.location();
        let download = match http.get(file, from, etag.as_deref()).await {
            // It may be whole already, or be more than there is.
            Err(FetchError::PastEnd) if part.check(self.request.checksum()).is_ok() => {
                return Ok(part);
            }
            Err(FetchError::PastEnd | FetchError::WrongRange) if from > 0 => {
                http.get(file, 0, None).await
            }
            answer => answer,
        };
        let download = download.map_err(|error| ImageError::before(error, part.length()))?;
        let size = download.file_size.ok_or(FetchError::SizeUnknown);
        let size = size.map_err(ImageError::Unreachable)?;
        self.request.check_length(size)?;
        let origin = download.etag.clone().map(|etag| Origin {
            url: url.to_owned(),
            etag,
        });
        let (checksum, restart) = (self.request.checksum().clone(), download.from == 0);
        part = files::blocking(move || {
            if restart {
                part.restart(&checksum)?;
            }
            part.set_origin(origin.as_ref())?;
            Ok(part)
        })
        .await?;
        self.make_room(&part, size).await?;
        self.transfer(part, download, size).await
    }

    /// Room for what is still to come.
    async fn make_room(&self, part: &Part, size: u64) -> Result<(), ImageError> {
        let needed = size.saturating_sub(part.length());
        let with_reserve = needed.saturating_add(RESERVE);
        let mut free = capacity::of(&self.images.root)?.free;
        if free < with_reserve {
            free = self.images.make_room(with_reserve).await?;
        }
        if free < with_reserve {
            return Err(ImageError::NoSpace { needed, free });
        }
        Ok(())
    }

    async fn transfer(
        &self,
        part: Part,
        mut download: Download,
        total: u64,
    ) -> Result<Part, ImageError> {
        let mut done = part.length();
        self.progress.send_replace(Progress { done, total });
        let (sender, writer) = writer(part);
        let ended = loop {
            match download.chunk().await {
                Ok(Some(bytes)) => {
                    done += bytes.len() as u64;
                    // The writer ends early where it cannot write, and says why.
                    if sender.send(bytes).await.is_err() {
                        break Ok(());
                    }
                    self.progress.send_replace(Progress { done, total });
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        drop(sender);
        let part = writer.await.map_err(|_| Error::Panicked)?;
        let part = part.map_err(|error| self.no_space(error, total, done))?;
        ended.map_err(|error| ImageError::amid(error, part.length()))?;
        if part.length() < total {
            let done = part.length();
            return Err(ImageError::Broken { done, source: None });
        }
        Ok(part)
    }

    fn no_space(&self, error: Error, total: u64, done: u64) -> ImageError {
        match error {
            Error::NoSpace { .. } => ImageError::NoSpace {
                needed: total.saturating_sub(done),
                free: capacity::of(&self.images.root).map_or(0, |capacity| capacity.free),
            },
            other => other.into(),
        }
    }
}

/// A thread that writes, and reckons the checksum, while the next bytes come.
fn writer(mut part: Part) -> (mpsc::Sender<bytes::Bytes>, JoinHandle<Result<Part, Error>>) {
    let (sender, mut receiver) = mpsc::channel::<bytes::Bytes>(QUEUE);
    let writer = tokio::task::spawn_blocking(move || {
        while let Some(bytes) = receiver.blocking_recv() {
            part.append(&bytes)?;
        }
        Ok(part)
    });
    (sender, writer)
}

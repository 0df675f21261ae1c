//! Images of both kinds: what is known of each, and when its header is read next.

use super::{Cached, ImageId, Now, World};
use kilonova_controllers_core::images::{Header, image_status};
use kilonova_crds::condition::{is_true, types};
use kilonova_crds::v1alpha1::{ImageFormat, ImageKind, ImageSpec, ImageStatus};
use kilonova_crds::{ClusterImage, Image};
use kube::ResourceExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Delays between two readings of a header that gave no usable image, from the first to the
/// longest: a server that was down is back in seconds, a wrong file is replaced by a person.
const RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(5));

/// Reading one image's header.
#[derive(Debug)]
pub struct Probe {
    uid: String,
    running: bool,
    failures: u32,
    next: Instant,
    header: Option<Header>,
}

/// An image of either kind.
#[derive(Clone, Debug)]
pub enum AnyImage {
    /// A namespace's own.
    Own(Arc<Image>),
    /// The operator's.
    Cluster(Arc<ClusterImage>),
}

/// What is to be done for an image.
#[derive(Debug)]
pub struct ImageFacts {
    /// The image.
    pub image: AnyImage,
    /// Its status, where it is another than it has and worth a write.
    pub status: Option<ImageStatus>,
    /// Its header is to be read now: the caller must, and says so by [`World::header_read`].
    pub read: Option<Reading>,
    /// When it is to be looked at again.
    pub again: Option<Instant>,
}

/// A header to be read.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The image's uid.
    pub uid: String,
    /// Where it is.
    pub url: String,
    /// What it is said to be.
    pub format: ImageFormat,
}

impl AnyImage {
    fn uid(&self) -> String {
        let uid = match self {
            Self::Own(image) => image.uid(),
            Self::Cluster(image) => image.uid(),
        };
        uid.unwrap_or_default()
    }

    fn spec(&self) -> ImageSpec {
        match self {
            Self::Own(image) => image.spec.clone(),
            Self::Cluster(image) => image.image_spec(),
        }
    }

    fn status(&self) -> (Option<&ImageStatus>, i64) {
        match self {
            Self::Own(image) => (image.status.as_ref(), generation(&**image)),
            Self::Cluster(image) => (image.status.as_ref(), generation(&**image)),
        }
    }
}

fn generation<K: Cached>(image: &K) -> i64 {
    image.meta().generation.unwrap_or_default()
}

impl World {
    pub(super) fn any_image(&self, id: &ImageId) -> Option<AnyImage> {
        match id.kind {
            ImageKind::Image => {
                let image = self.images.get(&id.namespace, &id.name)?;
                Some(AnyImage::Own(image.clone()))
            }
            ImageKind::ClusterImage => {
                let image = self.cluster_images.get("", &id.name)?;
                Some(AnyImage::Cluster(image.clone()))
            }
        }
    }

    /// What is to be done for an image; `None` where it is gone.
    pub fn image_facts(&mut self, id: &ImageId, now: Now) -> Option<ImageFacts> {
        let Some(image) = self.any_image(id) else {
            self.probes.remove(id);
            return None;
        };
        let (uid, spec) = (image.uid(), image.spec());
        let (previous, generation) = image.status();
        let first = || Probe {
            uid: uid.clone(),
            running: false,
            failures: 0,
            next: now.steady,
            header: None,
        };
        let probe = self.probes.entry(id.clone()).or_insert_with(first);
        if probe.uid != uid {
            // Another image of that name. What is still being read is of the old one.
            *probe = first();
        }
        let status = image_status(&spec, generation, previous, probe.header.as_ref(), now.wall);
        let ready = is_true(&status.conditions, types::READY);
        let due = !ready && !probe.running && probe.next <= now.steady;
        if due {
            probe.running = true;
        }
        let read = due.then(|| Reading {
            uid,
            url: spec.source.http.url.clone(),
            format: spec.format,
        });
        let again = (!ready && !probe.running).then_some(probe.next);
        // While the first reading is under way, which takes milliseconds, there is nothing to say.
        let worth = Some(&status) != previous && (ready || probe.header.is_some());
        Some(ImageFacts {
            status: worth.then_some(status),
            image,
            read,
            again,
        })
    }

    /// A header was read, with this result.
    pub fn header_read(&mut self, id: &ImageId, uid: &str, header: Header, now: Now) {
        let Some(probe) = self.probes.get_mut(id).filter(|probe| probe.uid == uid) else {
            return;
        };
        probe.running = false;
        probe.failures = match header {
            Header::Read { .. } => 0,
            Header::Unreachable(_) | Header::Refused(_) => probe.failures.saturating_add(1),
        };
        let delay = RETRY.0 * 2u32.saturating_pow(probe.failures.min(16).saturating_sub(1));
        probe.next = now.steady + delay.min(RETRY.1);
        probe.header = Some(header);
    }
}

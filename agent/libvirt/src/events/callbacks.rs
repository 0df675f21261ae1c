//! libvirt's callbacks: the one module with `unsafe`, because `virt` has no safe form of them.
//!
//! What libvirt is given is a function of ours and a pointer to a boxed [`Sink`], which libvirt
//! gives back once, to [`free`], when it needs it no more. The callbacks run on the thread of the
//! event loop and must come back at once: they only put something into a channel.
#![allow(
    unsafe_code,
    reason = "virt has no safe wrapper for domain events and close callbacks"
)]

use super::{Event, EventKind, StopReason};
use crate::connection::Connection;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::OnceLock;
use std::time::Duration;
use virt::error::Error;
use virt::sys;

/// What a subscription tells.
pub(super) enum Notice {
    /// Something happened to a domain.
    Event(Event),
    /// The connection is gone.
    Closed,
}

/// Where notices go. Called on the event loop's thread.
pub(super) type Sink = Box<dyn Fn(Notice) + Send + Sync>;

/// Starts libvirt's event loop on a thread of its own, once for the process. To be called before
/// the first connection.
pub(crate) fn run_loop() -> Result<(), Error> {
    static STARTED: OnceLock<Result<(), Error>> = OnceLock::new();
    let start = || {
        virt::event::event_register_default_impl()?;
        let thread = std::thread::Builder::new().name("libvirt-events".to_owned());
        if let Err(error) = thread.spawn(turn) {
            tracing::error!(%error, "no thread for libvirt's event loop");
        }
        Ok(())
    };
    STARTED.get_or_init(start).clone()
}

fn turn() {
    loop {
        if let Err(error) = virt::event::event_run_default_impl() {
            tracing::warn!(%error, "libvirt's event loop");
            // It says so at once where poll(2) fails: no busy loop.
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}

/// Callbacks on a connection, until it is dropped.
pub(super) struct Subscription {
    connection: Connection,
    callbacks: Vec<c_int>,
}

impl Subscription {
    /// Registers all callbacks. `sink` makes the receiver of each.
    pub(super) fn new(connection: Connection, sink: impl Fn() -> Sink) -> Result<Self, Error> {
        let mut subscription = Self {
            connection,
            callbacks: Vec::new(),
        };
        let pointer = subscription.connection.get().as_ptr();
        for (event, callback) in callbacks() {
            let opaque = leak(sink());
            // SAFETY: the connection lives in `subscription`. `callback` has the signature that
            // libvirt calls for `event`, see `callbacks`. `opaque` is a leaked `Box<Sink>`, which
            // `free` takes back once; libvirt calls it no more after that. A null domain means
            // all.
            let id = unsafe {
                sys::virConnectDomainEventRegisterAny(
                    pointer,
                    ptr::null_mut(),
                    event.cast_signed(),
                    callback,
                    opaque,
                    Some(free),
                )
            };
            if id < 0 {
                let error = Error::last_error();
                // SAFETY: libvirt took nothing over, so that the box is still ours.
                unsafe { free(opaque) };
                return Err(error);
            }
            subscription.callbacks.push(id);
        }
        subscription.watch_close(sink());
        Ok(subscription)
    }

    /// Whether its connection is still there.
    pub(super) fn is_alive(&self) -> bool {
        self.connection.is_alive()
    }

    /// Drivers in this process cannot be lost, and refuse this.
    fn watch_close(&self, sink: Sink) {
        let opaque = leak(sink);
        let pointer = self.connection.get().as_ptr();
        // SAFETY: as in `new`; `closed` has the signature of a close callback.
        let result = unsafe {
            sys::virConnectRegisterCloseCallback(pointer, Some(closed), opaque, Some(free))
        };
        if result < 0 {
            tracing::debug!(error = %Error::last_error(), "no close callback");
            // SAFETY: libvirt took nothing over, so that the box is still ours.
            unsafe { free(opaque) };
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let pointer = self.connection.get().as_ptr();
        // SAFETY: the connection is closed only after this, when the field is dropped. Where a
        // callback is not registered (any more) these return an error, which means no harm.
        unsafe {
            sys::virConnectUnregisterCloseCallback(pointer, Some(closed));
            for id in &self.callbacks {
                sys::virConnectDomainEventDeregisterAny(pointer, *id);
            }
        }
    }
}

fn leak(sink: Sink) -> *mut c_void {
    Box::into_raw(Box::new(sink)).cast()
}

/// The events that are listened for, each with its callback as libvirt's generic type.
fn callbacks() -> [(
    sys::virDomainEventID,
    sys::virConnectDomainEventGenericCallback,
); 3] {
    type Generic = unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, *mut c_void);
    type Lifecycle = unsafe extern "C" fn(
        sys::virConnectPtr,
        sys::virDomainPtr,
        c_int,
        c_int,
        *mut c_void,
    ) -> c_int;
    type IoError = unsafe extern "C" fn(
        sys::virConnectPtr,
        sys::virDomainPtr,
        *const c_char,
        *const c_char,
        c_int,
        *const c_char,
        *mut c_void,
    );
    // SAFETY: function pointers are of one size. libvirt casts each back to the type that belongs
    // to its event's id before it calls it: `virConnectDomainEventCallback` for LIFECYCLE,
    // `virConnectDomainEventIOErrorReasonCallback` for IO_ERROR_REASON.
    let (lifecycle, io_error) = unsafe {
        (
            std::mem::transmute::<Lifecycle, Generic>(lifecycle),
            std::mem::transmute::<IoError, Generic>(io_error),
        )
    };
    [
        (sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE, Some(lifecycle)),
        (sys::VIR_DOMAIN_EVENT_ID_REBOOT, Some(rebooted)),
        (sys::VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON, Some(io_error)),
    ]
}

/// # Safety
/// `opaque` must come from [`leak`], and not be used after this.
unsafe extern "C" fn free(opaque: *mut c_void) {
    // SAFETY: the caller's promise.
    drop(unsafe { Box::from_raw(opaque.cast::<Sink>()) });
}

/// # Safety
/// `opaque` must come from [`leak`].
unsafe extern "C" fn closed(_: sys::virConnectPtr, _reason: c_int, opaque: *mut c_void) {
    // SAFETY: the caller's promise; it lives until `free`, after which no callback comes.
    let sink = unsafe { &*opaque.cast::<Sink>() };
    sink(Notice::Closed);
}

/// # Safety
/// `domain` must be a domain, `opaque` come from [`leak`].
unsafe extern "C" fn lifecycle(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    event: c_int,
    detail: c_int,
    opaque: *mut c_void,
) -> c_int {
    let kind = kind(event.cast_unsigned(), detail.cast_unsigned());
    // SAFETY: the caller's promise.
    unsafe { tell(domain, kind, opaque) };
    0
}

/// # Safety
/// `domain` must be a domain, `opaque` come from [`leak`].
unsafe extern "C" fn rebooted(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    opaque: *mut c_void,
) {
    // SAFETY: the caller's promise.
    unsafe { tell(domain, EventKind::Rebooted, opaque) };
}

/// # Safety
/// `domain` must be a domain, `opaque` come from [`leak`].
unsafe extern "C" fn io_error(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    _path: *const c_char,
    _alias: *const c_char,
    _action: c_int,
    _reason: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: the caller's promise.
    unsafe { tell(domain, EventKind::IoError, opaque) };
}

/// # Safety
/// `domain` must be a domain, `opaque` come from [`leak`].
unsafe fn tell(domain: sys::virDomainPtr, kind: EventKind, opaque: *mut c_void) {
    let mut text: [c_char; sys::VIR_UUID_STRING_BUFLEN as usize] =
        [0; sys::VIR_UUID_STRING_BUFLEN as usize];
    // SAFETY: `domain` is one by the caller's promise, and the buffer has the size that is asked
    // for. libvirt ends the text with NUL.
    let uuid = unsafe {
        if sys::virDomainGetUUIDString(domain, text.as_mut_ptr()) < 0 {
            return;
        }
        CStr::from_ptr(text.as_ptr())
    };
    let uuid = uuid.to_string_lossy().into_owned();
    // SAFETY: the caller's promise; it lives until `free`, after which no callback comes.
    let sink = unsafe { &*opaque.cast::<Sink>() };
    sink(Notice::Event(Event::Domain { uuid, kind }));
}

/// A lifecycle event with its detail.
fn kind(event: sys::virDomainEventType, detail: u32) -> EventKind {
    match event {
        sys::VIR_DOMAIN_EVENT_DEFINED => EventKind::Defined,
        sys::VIR_DOMAIN_EVENT_UNDEFINED => EventKind::Undefined,
        sys::VIR_DOMAIN_EVENT_STARTED => EventKind::Started,
        sys::VIR_DOMAIN_EVENT_RESUMED => EventKind::Resumed,
        sys::VIR_DOMAIN_EVENT_SUSPENDED => EventKind::Paused {
            io_error: detail == sys::VIR_DOMAIN_EVENT_SUSPENDED_IOERROR,
        },
        sys::VIR_DOMAIN_EVENT_SHUTDOWN => EventKind::ShuttingDown,
        sys::VIR_DOMAIN_EVENT_CRASHED => EventKind::Stopped {
            reason: StopReason::Crashed,
        },
        sys::VIR_DOMAIN_EVENT_STOPPED => EventKind::Stopped {
            reason: match detail {
                sys::VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN => StopReason::Shutdown,
                sys::VIR_DOMAIN_EVENT_STOPPED_DESTROYED => StopReason::Destroyed,
                sys::VIR_DOMAIN_EVENT_STOPPED_CRASHED => StopReason::Crashed,
                sys::VIR_DOMAIN_EVENT_STOPPED_SAVED => StopReason::Saved,
                sys::VIR_DOMAIN_EVENT_STOPPED_FAILED => StopReason::Failed,
                _ => StopReason::Other,
            },
        },
        _ => EventKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lifecycle_events() {
        let stopped = |reason| EventKind::Stopped { reason };
        for (event, detail, expected) in [
            (0, 0, EventKind::Defined),
            (1, 0, EventKind::Undefined),
            (2, 0, EventKind::Started),
            (3, 0, EventKind::Paused { io_error: false }),
            (3, 2, EventKind::Paused { io_error: true }),
            (4, 0, EventKind::Resumed),
            (5, 0, stopped(StopReason::Shutdown)),
            (5, 1, stopped(StopReason::Destroyed)),
            (5, 2, stopped(StopReason::Crashed)),
            (5, 3, stopped(StopReason::Other)),
            (5, 4, stopped(StopReason::Saved)),
            (5, 5, stopped(StopReason::Failed)),
            (6, 0, EventKind::ShuttingDown),
            (7, 0, EventKind::Other),
            (8, 0, stopped(StopReason::Crashed)),
            (99, 0, EventKind::Other),
        ] {
            assert_eq!(kind(event, detail), expected, "{event} {detail}");
        }
    }
}

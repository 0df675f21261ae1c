//! The handle, and libvirt's verbs. Each is a success where what it asks for is so already.

use crate::calls::{Call, Calls, Limits};
use crate::events::{Events, Listener};
use crate::{Error, observe};
use kilonova_agent_core::observed::{LibvirtDomain, NodeFacts};
use kilonova_agent_core::xml::METADATA_NAMESPACE;
use std::sync::Arc;
use uuid::Uuid;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::sys;

/// The prefix that libvirt gives our element where it is replaced. It refuses one that the element
/// itself declares.
const METADATA_KEY: &str = "instance";

/// A libvirt daemon. Clones are one handle.
#[derive(Clone)]
pub struct Libvirt {
    calls: Arc<Calls>,
    listener: Arc<Listener>,
}

impl std::fmt::Debug for Libvirt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Libvirt").finish_non_exhaustive()
    }
}

impl Libvirt {
    /// Connects, and starts to listen for events. A connection that is lost later is made anew in
    /// the background.
    ///
    /// # Errors
    /// When there is no libvirtd at `uri` (`qemu:///system`), or it does not answer.
    pub async fn connect(uri: &str, limits: Limits) -> Result<Self, Error> {
        virt::error::clear_error_callback();
        Ok(Self {
            calls: Calls::new(uri.to_owned(), limits),
            listener: Arc::new(Listener::start(uri, limits.query).await?),
        })
    }

    /// The events from now on. The first one is [`crate::Event::Reconnected`]: whoever listens has to
    /// observe everything once, after it began to listen.
    #[must_use]
    pub fn events(&self) -> Events {
        self.listener.events()
    }

    /// What the node is and has.
    ///
    /// # Errors
    /// When libvirt does not answer, or not what was expected.
    pub async fn facts(&self) -> Result<NodeFacts, Error> {
        let call = Call::Query("facts");
        self.calls
            .run(call, move |connect| observe::facts(call.name(), connect))
            .await
    }

    /// All domains.
    ///
    /// # Errors
    /// When libvirt does not answer.
    pub async fn list(&self) -> Result<Vec<LibvirtDomain>, Error> {
        let call = Call::Query("list");
        self.calls
            .run(call, move |connect| observe::list(call.name(), connect))
            .await
    }

    /// One domain.
    ///
    /// # Errors
    /// When libvirt does not answer.
    pub async fn get(&self, uuid: &str) -> Result<Option<LibvirtDomain>, Error> {
        let call = Call::Query("get");
        unless_gone(self.on(call, uuid, observe::get).await.map(Some))
    }

    /// Its XML as it runs, or as it is defined where it is off.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn xml(&self, uuid: &str) -> Result<String, Error> {
        self.on(Call::Query("xml"), uuid, |domain| domain.get_xml_desc(0))
            .await
    }

    /// Defines a domain, or changes its definition, by its UUID.
    ///
    /// # Errors
    /// When libvirt refuses it.
    pub async fn define(&self, xml: &str) -> Result<(), Error> {
        let call = Call::Change("define", None);
        let xml = sendable(call, xml)?;
        self.calls
            .run(call, move |connect| {
                let defined = Domain::define_xml(connect, &xml);
                done(call, defined)
            })
            .await
    }

    /// Starts it with its CPUs halted, from its saved memory where it has some.
    ///
    /// # Errors
    /// When it cannot be started; saved memory is kept then.
    pub async fn start_paused(&self, uuid: &str) -> Result<(), Error> {
        let call = Call::Memory("start", parse("start", uuid)?);
        self.on(call, uuid, |domain| {
            let started = domain.create_with_flags(sys::VIR_DOMAIN_START_PAUSED);
            unless(started, || domain.is_active())
        })
        .await
    }

    /// Lets its CPUs run.
    ///
    /// # Errors
    /// When it is off, or cannot be resumed.
    pub async fn resume(&self, uuid: &str) -> Result<(), Error> {
        let call = Call::Change("resume", Some(parse("resume", uuid)?));
        self.on(call, uuid, |domain| {
            let resumed = domain.resume();
            unless(resumed, || is(domain, sys::VIR_DOMAIN_RUNNING))
        })
        .await
    }

    /// Halts its CPUs.
    ///
    /// # Errors
    /// When it is off.
    pub async fn pause(&self, uuid: &str) -> Result<(), Error> {
        let call = Call::Change("pause", Some(parse("pause", uuid)?));
        self.on(call, uuid, |domain| {
            let paused = domain.suspend();
            unless(paused, || is(domain, sys::VIR_DOMAIN_PAUSED))
        })
        .await
    }

    /// Presses its power button (ACPI). Whether the guest obeys shows later.
    ///
    /// # Errors
    /// When it cannot be pressed, as that of one whose CPUs are halted.
    pub async fn shutdown(&self, uuid: &str) -> Result<(), Error> {
        let call = Call::Change("shutdown", Some(parse("shutdown", uuid)?));
        self.on(call, uuid, |domain| {
            let pressed = domain.shutdown_flags(sys::VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN);
            unless(pressed, || domain.is_active().map(|active| !active))
        })
        .await
    }

    /// Cuts its power. A success where there is no such domain.
    ///
    /// # Errors
    /// When QEMU cannot be ended.
    pub async fn destroy(&self, uuid: &str) -> Result<(), Error> {
        let call = Call::Change("destroy", Some(parse("destroy", uuid)?));
        let destroyed = self.on(call, uuid, |domain| {
            unless(domain.destroy(), || {
                domain.is_active().map(|active| !active)
            })
        });
        unless_gone(destroyed.await)
    }

    /// Saves its memory to disk and ends it.
    ///
    /// # Errors
    /// When it is off without saved memory, or there is no room; it runs on then.
    pub async fn managed_save(&self, uuid: &str) -> Result<(), Error> {
        let call = Call::Memory("managed_save", parse("managed_save", uuid)?);
        self.on(call, uuid, |domain| {
            // As it runs or is paused, so it comes back; who starts it says which.
            unless(domain.managed_save(0), || {
                Ok(!domain.is_active()? && domain.has_managed_save(0)?)
            })
        })
        .await
    }

    /// Throws its saved memory away. A success where there is no such domain.
    ///
    /// # Errors
    /// When that cannot be done.
    pub async fn managed_save_remove(&self, uuid: &str) -> Result<(), Error> {
        let call = "managed_save_remove";
        let call = Call::Change(call, Some(parse(call, uuid)?));
        let removed = self.on(call, uuid, |domain| {
            if domain.has_managed_save(0)? {
                domain.managed_save_remove(0)?;
            }
            Ok(())
        });
        unless_gone(removed.await)
    }

    /// Undefines it, with its saved memory, NVRAM, snapshots' and checkpoints' metadata. A success
    /// where there is no such domain.
    ///
    /// # Errors
    /// When that cannot be done, or it is active: libvirt would forget it at its end.
    pub async fn undefine(&self, uuid: &str) -> Result<(), Error> {
        let call = Call::Change("undefine", Some(parse("undefine", uuid)?));
        let uuid = parse(call.name(), uuid)?;
        let undefined = self.calls.run(call, move |connect| {
            let domain = find(call, connect, uuid)?;
            let error = |error| Error::from_virt(call.name(), &error);
            if domain.is_active().map_err(error)? {
                return Err(Error::Libvirt {
                    call: call.name(),
                    code: sys::VIR_ERR_OPERATION_INVALID,
                    message: "the domain is active".to_owned(),
                });
            }
            undefine(&domain).map_err(error)
        });
        unless_gone(undefined.await)
    }

    /// Replaces the element that Kilonova keeps in its `<metadata>`: in the definition and, where
    /// it is active, live.
    ///
    /// # Errors
    /// When it is not there, or `element` is not well-formed.
    pub async fn set_metadata(&self, uuid: &str, element: &str) -> Result<(), Error> {
        let call = Call::Change("set_metadata", Some(parse("set_metadata", uuid)?));
        let element = sendable(call, element)?;
        self.on(call, uuid, move |domain| {
            let mut flags = sys::VIR_DOMAIN_AFFECT_CONFIG;
            if domain.is_active()? {
                flags |= sys::VIR_DOMAIN_AFFECT_LIVE;
            }
            let kind = sys::VIR_DOMAIN_METADATA_ELEMENT.cast_signed();
            let (key, uri) = (Some(METADATA_KEY), Some(METADATA_NAMESPACE));
            domain.set_metadata(kind, Some(&element), key, uri, flags)?;
            Ok(())
        })
        .await
    }

    pub(crate) fn calls(&self) -> &Arc<Calls> {
        &self.calls
    }

    /// Runs a call on one domain.
    async fn on<T: Send + 'static>(
        &self,
        call: Call,
        uuid: &str,
        work: impl FnOnce(&Domain) -> Result<T, virt::error::Error> + Send + 'static,
    ) -> Result<T, Error> {
        let uuid = parse(call.name(), uuid)?;
        self.calls
            .run(call, move |connect| {
                let domain = find(call, connect, uuid)?;
                work(&domain).map_err(|error| Error::from_virt(call.name(), &error))
            })
            .await
    }
}

fn find(call: Call, connect: &Connect, uuid: Uuid) -> Result<Domain, Error> {
    Domain::lookup_by_uuid(connect, uuid).map_err(|error| Error::from_virt(call.name(), &error))
}

fn undefine(domain: &Domain) -> Result<(), virt::error::Error> {
    let all = sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        | sys::VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
        | sys::VIR_DOMAIN_UNDEFINE_NVRAM;
    domain.undefine_flags(all)
}

/// A text that is no UUID is the name of no domain.
fn parse(call: &'static str, uuid: &str) -> Result<Uuid, Error> {
    Uuid::parse_str(uuid).map_err(|_| Error::NoDomain { call })
}

/// A text as libvirt can be given it: without NUL, which would end it.
fn sendable(call: Call, text: &str) -> Result<String, Error> {
    if text.contains('\0') {
        return Err(Error::Unreadable {
            call: call.name(),
            message: "the XML has a NUL character".to_owned(),
        });
    }
    Ok(text.to_owned())
}

fn done<T>(call: Call, result: Result<T, virt::error::Error>) -> Result<(), Error> {
    let done = result.map(|_| ());
    done.map_err(|error| Error::from_virt(call.name(), &error))
}

/// Success where a verb failed, and the state is the one that was wanted: drivers differ in what
/// they say then.
fn unless<T>(
    result: Result<T, virt::error::Error>,
    already: impl FnOnce() -> Result<bool, virt::error::Error>,
) -> Result<(), virt::error::Error> {
    match result {
        Ok(_) => Ok(()),
        Err(error) => match already() {
            Ok(true) => Ok(()),
            _ => Err(error),
        },
    }
}

fn is(domain: &Domain, state: sys::virDomainState) -> Result<bool, virt::error::Error> {
    Ok(domain.get_state()?.0 == state)
}

fn unless_gone<T: Default>(result: Result<T, Error>) -> Result<T, Error> {
    match result {
        Err(Error::NoDomain { .. }) => Ok(T::default()),
        other => other,
    }
}

#[cfg(test)]
mod tests;

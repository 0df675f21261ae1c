//! The table of power: what libvirt says of a domain × what is declared → what is to be done.
//!
//! It says nothing of ports, disks or definitions, which [`crate::plan`] puts around it, and
//! nothing here may wait or count: how long a guest that keeps stopping has to wait is
//! [`crate::backoff`]'s.

use crate::observed::{LibvirtState, StateReason};
use crate::record::LastStop;
use kilonova_crds::v1alpha1::{Power, PowerState, RestartPolicy};

/// What the table reads of a libvirt domain that is defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its state.
    pub state: LibvirtState,
    /// Why it is in that state.
    pub reason: StateReason,
    /// Whether its memory is saved.
    pub saved: bool,
    /// How it last stopped, as its record says.
    pub last_stop: Option<LastStop>,
}

/// What is declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Declared {
    /// The wanted power state.
    pub power: Power,
    /// Whether a guest that stops by itself is started again.
    pub policy: RestartPolicy,
}

/// What the table asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing: it is as declared.
    Stay,
    /// Nothing now: it is on its way, an event will tell.
    Await,
    /// Nothing: its guest stopped and may not be started again.
    GuestStopped,
    /// Start it from off.
    Start {
        /// True: its CPUs stay halted.
        paused: bool,
        /// True: it stopped by itself, so that it may have to wait.
        again: bool,
    },
    /// Bring its saved memory back.
    Restore {
        /// True: its CPUs stay halted.
        paused: bool,
    },
    /// Let its CPUs run.
    Resume,
    /// Let its CPUs run once there is room on the disk that it could not write to.
    ResumeAfterIoError,
    /// Halt its CPUs.
    Pause,
    /// Save its memory and end it.
    Save,
    /// Ask the guest to shut down, then cut its power.
    Shutdown {
        /// True: its CPUs are halted, and a halted guest hears nothing.
        resume: bool,
    },
    /// Cut its power: it could not shut down if it wanted to.
    Destroy,
    /// Throw its saved memory away: declared off, it is as if its power had been cut.
    Discard,
}

/// The table.
#[must_use]
pub fn action(seen: Seen, declared: Declared) -> Action {
    match declared.power {
        Power::On => on(seen, declared.policy, false),
        Power::Paused => on(seen, declared.policy, true),
        Power::Off => off(seen),
        Power::Suspended => suspended(seen),
    }
}

fn on(seen: Seen, policy: RestartPolicy, paused: bool) -> Action {
    match seen.state {
        LibvirtState::Running if paused => Action::Pause,
        LibvirtState::Paused if paused => Action::Stay,
        // A guest that suspended itself is on, and cannot be halted further.
        LibvirtState::Running | LibvirtState::PmSuspended => Action::Stay,
        LibvirtState::Paused if seen.reason == StateReason::IoError => Action::ResumeAfterIoError,
        LibvirtState::Paused => Action::Resume,
        LibvirtState::ShuttingDown => Action::Await,
        LibvirtState::Shutoff | LibvirtState::Crashed if seen.saved => Action::Restore { paused },
        LibvirtState::Shutoff | LibvirtState::Crashed => {
            let (may, again) = match stopped(seen) {
                LastStop::Asked => (true, false),
                LastStop::Outside => (true, true),
                LastStop::Guest => (policy == RestartPolicy::Always, true),
                LastStop::Crashed => (policy != RestartPolicy::Never, true),
            };
            if may {
                Action::Start { paused, again }
            } else {
                Action::GuestStopped
            }
        }
    }
}

fn off(seen: Seen) -> Action {
    match seen.state {
        LibvirtState::Running | LibvirtState::PmSuspended | LibvirtState::ShuttingDown => {
            Action::Shutdown { resume: false }
        }
        LibvirtState::Paused if seen.reason == StateReason::IoError => Action::Destroy,
        LibvirtState::Paused => Action::Shutdown { resume: true },
        LibvirtState::Shutoff | LibvirtState::Crashed if seen.saved => Action::Discard,
        LibvirtState::Shutoff | LibvirtState::Crashed => Action::Stay,
    }
}

fn suspended(seen: Seen) -> Action {
    match seen.state {
        // What could not be written is in the saved memory, and written when that comes back.
        LibvirtState::Running | LibvirtState::Paused | LibvirtState::PmSuspended => Action::Save,
        LibvirtState::ShuttingDown => Action::Await,
        // Off and nothing saved: there is no memory to keep.
        LibvirtState::Shutoff | LibvirtState::Crashed => Action::Stay,
    }
}

/// How a domain that is off came to be so. The record, where it says something, is right: it is
/// cleared only once a domain runs, and a start that failed leaves a reason of its own in libvirt.
/// Where libvirt does not know (the node was rebooted) it ran until then.
#[must_use]
pub fn stopped(seen: Seen) -> LastStop {
    seen.last_stop.unwrap_or(match (seen.state, seen.reason) {
        (LibvirtState::Crashed, _) | (_, StateReason::Failed) => LastStop::Crashed,
        (_, StateReason::GuestShutdown) => LastStop::Guest,
        (_, StateReason::Destroyed | StateReason::Saved) => LastStop::Outside,
        (_, StateReason::IoError | StateReason::User | StateReason::Other) => LastStop::Asked,
    })
}

/// Whether its QEMU is there.
#[must_use]
pub fn active(state: LibvirtState) -> bool {
    match state {
        LibvirtState::Running
        | LibvirtState::Paused
        | LibvirtState::ShuttingDown
        | LibvirtState::PmSuspended => true,
        LibvirtState::Shutoff | LibvirtState::Crashed => false,
    }
}

/// The power state that people see.
#[must_use]
pub fn power_state(seen: Seen) -> PowerState {
    match seen.state {
        LibvirtState::Running | LibvirtState::ShuttingDown => PowerState::Running,
        LibvirtState::Paused | LibvirtState::PmSuspended => PowerState::Paused,
        LibvirtState::Shutoff | LibvirtState::Crashed if seen.saved => PowerState::Suspended,
        LibvirtState::Shutoff | LibvirtState::Crashed => match stopped(seen) {
            LastStop::Crashed => PowerState::Crashed,
            LastStop::Asked | LastStop::Guest | LastStop::Outside => PowerState::Shutoff,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::Action as A;
    use super::*;
    use LibvirtState::{Crashed, Paused, PmSuspended, Running, Shutoff, ShuttingDown};
    use RestartPolicy::{Always, Never, OnFailure};
    use StateReason::{Destroyed, Failed, GuestShutdown, IoError, Other, Saved, User};

    const START: A = A::Start {
        paused: false,
        again: false,
    };
    const AGAIN: A = A::Start {
        paused: false,
        again: true,
    };
    const HALTED: A = A::Start {
        paused: true,
        again: false,
    };
    const HALTED_AGAIN: A = A::Start {
        paused: true,
        again: true,
    };

    fn seen(
        state: LibvirtState,
        reason: StateReason,
        saved: bool,
        last_stop: Option<LastStop>,
    ) -> Seen {
        Seen {
            state,
            reason,
            saved,
            last_stop,
        }
    }

    /// State, reason, memory saved, record; then what On, Off, Paused and Suspended ask for, the
    /// restart policy being Always.
    #[test]
    fn each_row_under_each_declared_power() {
        let asked = Some(LastStop::Asked);
        let guest = Some(LastStop::Guest);
        let resumed = A::Shutdown { resume: true };
        let shutdown = A::Shutdown { resume: false };
        let back = A::Restore { paused: false };
        let back_halted = A::Restore { paused: true };
        #[rustfmt::skip]
        let rows = [
            (seen(Running,      Other,         false, None),  A::Stay,               shutdown,   A::Pause,     A::Save),
            (seen(Paused,       User,          false, None),  A::Resume,             resumed,    A::Stay,      A::Save),
            (seen(Paused,       Other,         false, None),  A::Resume,             resumed,    A::Stay,      A::Save),
            (seen(Paused,       IoError,       false, None),  A::ResumeAfterIoError, A::Destroy, A::Stay,      A::Save),
            (seen(ShuttingDown, Other,         false, None),  A::Await,              shutdown,   A::Await,     A::Await),
            (seen(PmSuspended,  Other,         false, None),  A::Stay,               shutdown,   A::Stay,      A::Save),
            (seen(Shutoff,      Saved,         true,  asked), back,                  A::Discard, back_halted,  A::Stay),
            (seen(Shutoff,      Other,         true,  None),  back,                  A::Discard, back_halted,  A::Stay),
            (seen(Shutoff,      Saved,         false, None),  AGAIN,                 A::Stay,    HALTED_AGAIN, A::Stay),
            (seen(Shutoff,      Other,         false, None),  START,                 A::Stay,    HALTED,       A::Stay),
            (seen(Shutoff,      Other,         false, asked), START,                 A::Stay,    HALTED,       A::Stay),
            (seen(Shutoff,      GuestShutdown, false, asked), START,                 A::Stay,    HALTED,       A::Stay),
            (seen(Shutoff,      Failed,        false, asked), START,                 A::Stay,    HALTED,       A::Stay),
            (seen(Shutoff,      Destroyed,     false, None),  AGAIN,                 A::Stay,    HALTED_AGAIN, A::Stay),
            (seen(Shutoff,      GuestShutdown, false, None),  AGAIN,                 A::Stay,    HALTED_AGAIN, A::Stay),
            (seen(Shutoff,      Failed,        false, None),  AGAIN,                 A::Stay,    HALTED_AGAIN, A::Stay),
            (seen(Crashed,      Other,         false, None),  AGAIN,                 A::Stay,    HALTED_AGAIN, A::Stay),
            (seen(Shutoff,      Other,         false, guest), AGAIN,                 A::Stay,    HALTED_AGAIN, A::Stay),
        ];
        for (seen, on, off, paused, suspended) in rows {
            for (power, wanted) in [
                (Power::On, on),
                (Power::Off, off),
                (Power::Paused, paused),
                (Power::Suspended, suspended),
            ] {
                let declared = Declared {
                    power,
                    policy: Always,
                };
                assert_eq!(action(seen, declared), wanted, "{seen:?} {power:?}");
            }
        }
    }

    /// What a stop means under each restart policy, declared On.
    #[test]
    fn each_stop_under_each_restart_policy() {
        #[rustfmt::skip]
        let rows = [
            // state, reason,              record,                    Always, OnFailure,       Never
            (Shutoff, GuestShutdown, None,                     [AGAIN, A::GuestStopped, A::GuestStopped]),
            (Shutoff, Other,         Some(LastStop::Guest),    [AGAIN, A::GuestStopped, A::GuestStopped]),
            (Shutoff, Destroyed,     Some(LastStop::Guest),    [AGAIN, A::GuestStopped, A::GuestStopped]),
            (Shutoff, Failed,        None,                     [AGAIN, AGAIN,           A::GuestStopped]),
            (Crashed, Other,         None,                     [AGAIN, AGAIN,           A::GuestStopped]),
            (Shutoff, Other,         Some(LastStop::Crashed),  [AGAIN, AGAIN,           A::GuestStopped]),
            (Shutoff, Destroyed,     None,                     [AGAIN, AGAIN,           AGAIN]),
            (Shutoff, Other,         Some(LastStop::Outside),  [AGAIN, AGAIN,           AGAIN]),
            (Shutoff, Other,         None,                     [START, START,           START]),
            (Shutoff, GuestShutdown, Some(LastStop::Asked),    [START, START,           START]),
        ];
        for (state, reason, record, wanted) in rows {
            for (policy, wanted) in [Always, OnFailure, Never].into_iter().zip(wanted) {
                let seen = seen(state, reason, false, record);
                let power = Power::On;
                let declared = Declared { power, policy };
                assert_eq!(action(seen, declared), wanted, "{seen:?} {policy:?}");
            }
        }
    }

    #[test]
    fn what_people_see() {
        #[rustfmt::skip]
        let rows = [
            (seen(Running,      Other,         false, None), PowerState::Running),
            (seen(ShuttingDown, Other,         false, None), PowerState::Running),
            (seen(Paused,       IoError,       false, None), PowerState::Paused),
            (seen(PmSuspended,  Other,         false, None), PowerState::Paused),
            (seen(Shutoff,      Saved,         true,  None), PowerState::Suspended),
            (seen(Shutoff,      GuestShutdown, false, None), PowerState::Shutoff),
            (seen(Shutoff,      Failed,        false, None), PowerState::Crashed),
            (seen(Crashed,      Other,         false, None), PowerState::Crashed),
            // A start that failed after an ordered stop is no crash of the guest.
            (seen(Shutoff,      Failed,        false, Some(LastStop::Asked)), PowerState::Shutoff),
        ];
        for (seen, wanted) in rows {
            assert_eq!(power_state(seen), wanted, "{seen:?}");
        }
    }
}

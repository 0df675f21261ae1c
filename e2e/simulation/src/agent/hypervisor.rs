//! What the agent says of its node: the Hypervisor's status, and the Lease.

use super::{Agent, SETTINGS, Stage, time};
use crate::api::Api;
use crate::clock;
use crate::node::Machine;
use crate::scene::{CLUSTER, NODE_DISK, Scene};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use kilonova_agent_core::hypervisor::{NodeReport, differs};
use kilonova_agent_core::observed::NodeFacts;
use kilonova_crds::Hypervisor;
use kilonova_crds::names::AGENT_LEASE;
use std::collections::BTreeSet;

impl Agent {
    /// Reports the node where something differs.
    pub fn report_node(&mut self, api: &mut Api, scene: &Scene, machine: &Machine) {
        let nothing_new = self.is_known() && !self.memory.census;
        if !self.talks() || self.memory.stage < Stage::Open || nothing_new {
            return;
        }
        let found = api.get::<Hypervisor>("", &self.node);
        let hypervisor = match found {
            Some(hypervisor) => (*hypervisor).clone(),
            None => match api.create(scene.hypervisor(&self.node)) {
                Ok(made) => made,
                Err(_) => return,
            },
        };
        let previous = hypervisor.status.as_ref();
        let status = self.report(machine, &hypervisor).status(previous, &time());
        if differs(previous, &status) {
            // Nobody else writes it in between.
            let _ = api.status(&hypervisor, |h| h.status = Some(status));
        }
        self.memory.stage = Stage::Told;
        self.memory.census = false;
    }

    fn report<'a>(&'a self, machine: &Machine, hypervisor: &Hypervisor) -> OwnedReport<'a> {
        OwnedReport {
            agent: self,
            facts: NodeFacts {
                vcpus: 16,
                memory_bytes: machine.memory,
                cpu_model: "EPYC".to_owned(),
                cpu_vendor: None,
                architecture: "x86_64".to_owned(),
                machine_types: SETTINGS.machine_types.clone(),
                kvm_offered: false,
                libvirt_version: "9.0.0".to_owned(),
                qemu_version: "7.2.0".to_owned(),
                hostname: self.node.clone(),
            },
            domains: machine
                .here
                .values()
                .filter_map(|h| h.libvirt.clone())
                .collect(),
            files: machine
                .here
                .values()
                .filter_map(|h| h.files.clone())
                .collect(),
            declared: self.memory.domains.keys().cloned().collect(),
            generation: hypervisor.metadata.generation,
        }
    }

    /// Whether something that the node reports of itself may have changed.
    #[must_use]
    pub fn census_due(&self) -> bool {
        self.memory.census
    }

    /// Renews the Lease, once the node was reported.
    pub fn renew(&mut self, api: &mut Api) {
        if !self.talks() || !self.is_known() {
            return;
        }
        self.renewals += 1;
        let renewal = clock::wall() + k8s_openapi::jiff::SignedDuration::from_micros(self.renewals);
        let mut lease = Lease::default();
        lease.metadata.name = Some(AGENT_LEASE.to_owned());
        lease.metadata.namespace = Some(self.namespace.clone());
        lease.spec = Some(LeaseSpec {
            renew_time: Some(MicroTime(renewal)),
            ..LeaseSpec::default()
        });
        if api.get::<Lease>(&self.namespace, AGENT_LEASE).is_some() {
            let _ = api.replace(lease);
        } else {
            let _ = api.create(lease);
        }
    }
}

/// What a [`NodeReport`] borrows.
struct OwnedReport<'a> {
    agent: &'a Agent,
    facts: NodeFacts,
    domains: Vec<kilonova_agent_core::observed::LibvirtDomain>,
    files: Vec<kilonova_agent_core::record::InstanceFiles>,
    declared: BTreeSet<String>,
    generation: Option<i64>,
}

impl OwnedReport<'_> {
    fn status(
        &self,
        previous: Option<&kilonova_crds::v1alpha1::HypervisorStatus>,
        now: &Time,
    ) -> kilonova_crds::v1alpha1::HypervisorStatus {
        let report = NodeReport {
            cluster_id: CLUSTER,
            facts: Some(&self.facts),
            libvirt_trouble: None,
            virtualization: Some(SETTINGS.virtualization),
            domains: &self.domains,
            files: &self.files,
            declared: &self.declared,
            nics: &[],
            lacks: &[],
            disk_total: NODE_DISK,
            disk_foreign: 0,
            share: None,
            kernel: &self.agent.kernel,
            agent: "0",
            generation: self.generation,
        };
        report.status(previous, now)
    }
}

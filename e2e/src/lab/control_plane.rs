//! etcd, kube-apiserver, kube-controller-manager and, where it is asked for, kube-scheduler of a lab, each a real
//! program of a known release.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    kubeconfig::{self, User},
    network,
    options::LabOptions,
    pki::Pki,
};
use crate::{
    Error, Result,
    build::ControlPlane,
    process::{Launch, Namespaces, Service},
};

/// Only what a lab without kubelets needs: namespaces, garbage collection, service accounts, aggregated roles. No node
/// lifecycle: nobody renews its Nodes.
const CONTROLLERS: &str = "namespace-controller,garbage-collector-controller,serviceaccount-controller,\
    serviceaccount-token-controller,root-ca-certificate-publisher-controller,clusterrole-aggregation-controller,\
    resourcequota-controller";

/// Every request for an object of ours, once, with who and what and how it ended: tests count writes.
const AUDIT_POLICY: &str = r#"{
  "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
  "rules": [
    {"level": "Metadata", "resources": [{"group": "kilonova.dev"}, {"group": "node.kilonova.dev"}]},
    {"level": "None"}
  ]
}"#;

/// Pod Security as strict clusters have it: what a namespace's own label does not let in, `baseline` must.
const ADMISSION: &str = r#"{
  "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration",
  "plugins": [{"name": "PodSecurity", "configuration": {
    "apiVersion": "pod-security.admission.config.k8s.io/v1", "kind": "PodSecurityConfiguration",
    "defaults": {"enforce": "baseline", "enforce-version": "latest"}
  }}]
}"#;

/// How long a kubelet may be silent before its Node is not Ready: half of the default, as tests wait for it.
const NODE_GRACE: &str = "20s";

/// The services, not started.
#[derive(Debug)]
pub(super) struct Services {
    pub(super) etcd: Service,
    pub(super) apiserver: Service,
    pub(super) controller_manager: Service,
    /// Where it is asked for, or there are kubelets to schedule pods onto.
    pub(super) scheduler: Option<Service>,
}

/// What the services are made from.
pub(super) struct Plan<'a> {
    pub(super) programs: &'a ControlPlane,
    pub(super) namespaces: &'a Namespaces,
    pub(super) dir: &'a Path,
    pub(super) pki: &'a Pki,
    pub(super) options: &'a LabOptions,
}

impl Plan<'_> {
    /// Writes the services' files and says how to start them.
    pub(super) fn services(&self) -> Result<Services> {
        let etcd = self.service("etcd", self.etcd_args());
        let apiserver = self.service("kube-apiserver", self.apiserver_args()?);
        let controller_manager =
            self.service("kube-controller-manager", self.controller_manager_args()?);
        let pods = self.options.scheduler || !self.options.kubelets.is_empty();
        let scheduler = if pods {
            Some(self.service("kube-scheduler", self.scheduler_args()?))
        } else {
            None
        };
        Ok(Services {
            etcd,
            apiserver,
            controller_manager,
            scheduler,
        })
    }

    fn service(&self, name: &str, args: Vec<String>) -> Service {
        let (program, part) = self.programs.command(name);
        let launch = Launch::new(self.namespaces, program).args(part).args(args);
        Service::new(name, self.dir.join(format!("logs/{name}.log")), launch)
    }

    fn etcd_args(&self) -> Vec<String> {
        let data = self.dir.join("etcd").display().to_string();
        let client = "http://127.0.0.1:2379";
        let peer = "http://127.0.0.1:2380";
        let mut args = match self.programs {
            ControlPlane::Built(_) => vec![
                format!("--data-dir={data}"),
                format!("--listen-client-url={client}"),
                format!("--listen-peer-url={peer}"),
            ],
            ControlPlane::Directory(_) => vec![
                format!("--data-dir={data}"),
                format!("--listen-client-urls={client}"),
                format!("--advertise-client-urls={client}"),
                format!("--listen-peer-urls={peer}"),
                "--log-level=warn".to_owned(),
            ],
        };
        if !self.options.durable_etcd {
            args.push("--unsafe-no-fsync".to_owned());
        }
        args
    }

    fn apiserver_args(&self) -> Result<Vec<String>> {
        let policy = self.dir.join("audit-policy.json");
        fs::write(&policy, AUDIT_POLICY).map_err(Error::file("write", &policy))?;
        let admission = self.dir.join("admission.json");
        fs::write(&admission, ADMISSION).map_err(Error::file("write", &admission))?;
        let file = |flag: &str, path: PathBuf| format!("--{flag}={}", path.display());
        let mut args = vec![
            "--etcd-servers=http://127.0.0.1:2379".to_owned(),
            "--bind-address=0.0.0.0".to_owned(),
            format!("--secure-port={}", network::API_PORT),
            format!("--advertise-address={}", network::CONTROL_PLANE),
            format!("--service-cluster-ip-range={}", network::SERVICES),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            "--allow-privileged=true".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            file(
                "service-account-key-file",
                self.pki.path("service-accounts.pub"),
            ),
            file(
                "service-account-signing-key-file",
                self.pki.path("service-accounts.key"),
            ),
            file("client-ca-file", self.pki.path("ca.crt")),
            file("tls-cert-file", self.pki.path("apiserver.crt")),
            file("tls-private-key-file", self.pki.path("apiserver.key")),
            file("admission-control-config-file", admission),
            file("audit-policy-file", policy),
            file("audit-log-path", audit_log(self.dir)),
            file(
                "kubelet-client-certificate",
                self.pki.path("apiserver-kubelet-client.crt"),
            ),
            file(
                "kubelet-client-key",
                self.pki.path("apiserver-kubelet-client.key"),
            ),
            file("kubelet-certificate-authority", self.pki.path("ca.crt")),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
        ];
        args.extend(self.options.apiserver_args.iter().cloned());
        Ok(args)
    }

    fn controller_manager_args(&self) -> Result<Vec<String>> {
        let name = "kube-controller-manager";
        let file = |flag: &str, path: PathBuf| format!("--{flag}={}", path.display());
        let mut args = vec![
            file("kubeconfig", self.kubeconfig(name)?),
            file("root-ca-file", self.pki.path("ca.crt")),
            file(
                "service-account-private-key-file",
                self.pki.path("service-accounts.key"),
            ),
            file("cert-dir", self.dir.join("certificates")),
            "--use-service-account-credentials=true".to_owned(),
            "--leader-elect=false".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
        ];
        args.push(if self.options.kubelets.is_empty() {
            format!("--controllers={CONTROLLERS}")
        } else {
            format!("--node-monitor-grace-period={NODE_GRACE}")
        });
        Ok(args)
    }

    fn scheduler_args(&self) -> Result<Vec<String>> {
        let config = self.kubeconfig("kube-scheduler")?;
        Ok(vec![
            format!("--kubeconfig={}", config.display()),
            format!("--cert-dir={}", self.dir.join("certificates").display()),
            "--leader-elect=false".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
        ])
    }

    /// The kubeconfig of a part with a certificate of its name.
    fn kubeconfig(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir.join(format!("{name}.kubeconfig"));
        let server = kubeconfig::lab_server();
        kubeconfig::write(&path, &server, self.pki, &User::Certificate(name))?;
        Ok(path)
    }
}

/// Where the API server writes its audit log.
pub(super) fn audit_log(dir: &Path) -> PathBuf {
    dir.join("audit.log")
}

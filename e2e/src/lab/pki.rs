//! The lab's certificates: one authority, the API server's, and clients'. Made anew for each lab, never reused.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use super::{network, options::KubeletOptions};
use crate::{Error, Result};

/// Where the certificates and keys are.
#[derive(Clone, Debug)]
pub(super) struct Pki {
    dir: PathBuf,
}

impl Pki {
    /// Makes all of them in `dir`, those of some kubelets as well.
    pub(super) fn create(dir: &Path, kubelets: &[KubeletOptions]) -> Result<Self> {
        fs::create_dir_all(dir).map_err(Error::file("create", dir))?;
        let pki = Self {
            dir: dir.to_path_buf(),
        };
        let authority = authority()?;
        pki.write("ca.crt", &authority.1)?;
        pki.issue(&authority.0, "apiserver", &server()?)?;
        pki.issue(
            &authority.0,
            "admin",
            &client("kilonova-admin", Some("system:masters"))?,
        )?;
        for name in ["kube-controller-manager", "kube-scheduler"] {
            let user = format!("system:{name}");
            pki.issue(&authority.0, name, &client(&user, None)?)?;
        }
        // What the API server shows to a kubelet, for logs and exec.
        let to_kubelets = client("kube-apiserver", Some("system:masters"))?;
        pki.issue(&authority.0, "apiserver-kubelet-client", &to_kubelets)?;
        for kubelet in kubelets {
            let user = format!("system:node:{}", kubelet.name);
            let client = client(&user, Some("system:nodes"))?;
            pki.issue(&authority.0, &kubelet.name, &client)?;
            let server = server_at(&kubelet.name, &[kubelet.address])?;
            pki.issue(&authority.0, &format!("{}-serving", kubelet.name), &server)?;
        }
        let service_accounts = key("service accounts")?;
        pki.write("service-accounts.key", &service_accounts.serialize_pem())?;
        pki.write("service-accounts.pub", &service_accounts.public_key_pem())?;
        Ok(pki)
    }

    /// A file of it: `ca.crt`, `admin.key`…
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn issue(
        &self,
        authority: &Issuer<'_, KeyPair>,
        name: &str,
        params: &CertificateParams,
    ) -> Result<()> {
        let key = key(name)?;
        let certificate = params.signed_by(&key, authority).map_err(failed(name))?;
        self.write(&format!("{name}.crt"), &certificate.pem())?;
        self.write(&format!("{name}.key"), &key.serialize_pem())
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        write_private(&self.path(name), text)
    }
}

/// Writes a file that only its owner may read.
///
/// # Errors
/// When it cannot be written.
pub fn write_private(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(Error::file("write", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .map_err(Error::file("set the mode of", path))
}

fn authority() -> Result<(Issuer<'static, KeyPair>, String)> {
    let mut params = named("kilonova-lab", None)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = key("kilonova-lab")?;
    let certificate = params.self_signed(&key).map_err(failed("kilonova-lab"))?;
    Ok((Issuer::new(params, key), certificate.pem()))
}

/// The API server's: reached as 127.0.0.1 through the forwarder, by the lab's address, and by its service.
fn server() -> Result<CertificateParams> {
    let addresses = [
        Ipv4Addr::LOCALHOST,
        network::CONTROL_PLANE,
        network::SERVICE,
    ];
    let mut params = server_at("kube-apiserver", &addresses)?;
    for name in ["kubernetes", "kubernetes.default.svc", "localhost"] {
        let name = name.try_into().map_err(failed("apiserver"))?;
        params.subject_alt_names.push(SanType::DnsName(name));
    }
    Ok(params)
}

fn server_at(name: &str, addresses: &[Ipv4Addr]) -> Result<CertificateParams> {
    let mut params = named(name, None)?;
    let addresses = addresses.iter().copied().map(IpAddr::V4);
    params.subject_alt_names = addresses.map(SanType::IpAddress).collect();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn client(user: &str, group: Option<&str>) -> Result<CertificateParams> {
    let mut params = named(user, group)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

fn named(user: &str, group: Option<&str>) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new()).map_err(failed(user))?;
    params.distinguished_name.push(DnType::CommonName, user);
    if let Some(group) = group {
        params
            .distinguished_name
            .push(DnType::OrganizationName, group);
    }
    Ok(params)
}

fn key(name: &str) -> Result<KeyPair> {
    KeyPair::generate().map_err(failed(name))
}

fn failed(name: &str) -> impl FnOnce(rcgen::Error) -> Error {
    let name = name.to_owned();
    move |source| Error::Certificate { name, source }
}

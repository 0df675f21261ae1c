//! The one TLS implementation of the process.

/// Makes *ring* the process's rustls provider. To be called before any client is made; harmless
/// when it is called again.
pub fn install_provider() {
    // An error only says that a provider is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

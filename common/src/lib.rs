//! What the two binaries share and neither owns: logs, the metrics server, the header of a disk
//! image, and the client that fetches images. Nothing here knows the API server or libvirt.

pub mod http_server;
pub mod http_source;
pub mod image_header;
pub mod telemetry;
pub mod tls;

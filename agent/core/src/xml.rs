//! The libvirt domain XML.

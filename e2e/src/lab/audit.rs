//! What the API server says was asked of it: the audit log, as far as tests count it.

use std::{fs, io, path::Path};

use jiff::Timestamp;
use serde::Deserialize;

use crate::{Error, Result};

/// One finished request for an object of ours.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEvent {
    /// `create`, `update`, `patch`, `delete`, `get`, `list`, `watch`…
    pub verb: String,
    /// Who asked.
    pub user: AuditUser,
    /// Of what.
    #[serde(default)]
    pub object_ref: AuditObject,
    /// How it ended.
    #[serde(default)]
    pub response_status: AuditStatus,
    /// When it came in.
    pub request_received_timestamp: Timestamp,
}

/// The user of a request.
#[derive(Clone, Debug, Deserialize)]
pub struct AuditUser {
    /// As RBAC knows them.
    pub username: String,
}

/// The object of a request; what it does not name is empty.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AuditObject {
    /// API group.
    pub api_group: String,
    /// Resource, plural.
    pub resource: String,
    /// `status`, for instance.
    pub subresource: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// The answer to a request.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct AuditStatus {
    /// HTTP status; 0 where the log does not say.
    #[serde(default)]
    pub code: u16,
}

impl AuditEvent {
    /// Whether it asked to change something.
    #[must_use]
    pub fn is_write(&self) -> bool {
        matches!(
            self.verb.as_str(),
            "create" | "update" | "patch" | "delete" | "deletecollection"
        )
    }

    /// Whether it was done.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        (200..300).contains(&self.response_status.code)
    }
}

/// Reads the log. A last line that is still being written is left for the next time.
pub(super) fn read(path: &Path) -> Result<Vec<AuditEvent>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::file("read", path)(error)),
    };
    let whole = text
        .rfind('\n')
        .map_or("", |end| text.get(..end).unwrap_or_default());
    whole
        .lines()
        .map(|line| {
            serde_json::from_str(line).map_err(|source| Error::Json {
                what: "the audit log".to_owned(),
                source,
            })
        })
        .collect()
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is wrong"
)]
mod tests {
    use super::*;

    #[test]
    fn half_a_line_is_left_for_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let line = r#"{"verb":"patch","user":{"username":"u"},"objectRef":{"resource":"instances","subresource":"status","apiGroup":"kilonova.dev"},"responseStatus":{"code":200},"requestReceivedTimestamp":"2026-01-01T00:00:00.000000Z"}"#;
        fs::write(&path, format!("{line}\n{}", &line[..40])).unwrap();
        let events = read(&path).unwrap();
        assert_eq!(events.len(), 1);
        assert!(events[0].is_write() && events[0].succeeded());
        assert_eq!(events[0].object_ref.subresource, "status");
    }
}

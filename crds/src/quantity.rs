//! Sizes as Kubernetes writes them (`2Gi`, `500M`, `1073741824`).

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;
use std::fmt;

/// A size in bytes, written as a Kubernetes quantity. Keeps the text that the user wrote, so that
/// what is stored equals what was applied.
///
/// The grammar is the part of Kubernetes' that makes sense for a size: a decimal number and a
/// binary (`Ki`…`Ei`) or decimal (`k`…`E`) suffix.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Quantity(String);

/// The text is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a size such as 2Gi, 500M or 1073741824")]
pub struct QuantityError(String);

impl Quantity {
    /// The pattern that the schema demands.
    pub const PATTERN: &str = r"^[0-9]{1,20}(\.[0-9]{1,9})?(k|Ki|M|Mi|G|Gi|T|Ti|P|Pi|E|Ei)?$";

    /// The shortest whole binary form of a number of bytes: 1024 is `1Ki`, 1000 is `1000`.
    #[must_use]
    pub fn from_bytes(bytes: u64) -> Self {
        let mut value = bytes;
        let mut suffix = "";
        for next in ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"] {
            if value == 0 || !value.is_multiple_of(1024) {
                break;
            }
            value /= 1024;
            suffix = next;
        }
        Self(format!("{value}{suffix}"))
    }

    /// The size in bytes, a fraction of a byte rounded up.
    ///
    /// # Errors
    /// When the text is not of [`Self::PATTERN`]'s form, or is beyond `u64`.
    pub fn bytes(&self) -> Result<u64, QuantityError> {
        let error = || QuantityError(self.0.clone());
        let digits = self.0.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let factor: u128 = match &self.0[digits.len()..] {
            "" => 1,
            "k" => 1000,
            "M" => 1000u128.pow(2),
            "G" => 1000u128.pow(3),
            "T" => 1000u128.pow(4),
            "P" => 1000u128.pow(5),
            "E" => 1000u128.pow(6),
            "Ki" => 1 << 10,
            "Mi" => 1 << 20,
            "Gi" => 1 << 30,
            "Ti" => 1 << 40,
            "Pi" => 1 << 50,
            "Ei" => 1 << 60,
            _ => return Err(error()),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let decimal = |s: &str, longest: usize| {
            let fits = !s.is_empty() && s.len() <= longest && s.bytes().all(|b| b.is_ascii_digit());
            if fits {
                s.parse::<u128>().map_err(|_| error())
            } else {
                Err(error())
            }
        };
        let scale = 10u128.pow(u32::try_from(fraction.len()).map_err(|_| error())?.min(9));
        let scaled = decimal(whole, 20)? * scale + decimal(fraction, 9)?;
        let bytes = scaled
            .checked_mul(factor)
            .ok_or_else(error)?
            .div_ceil(scale);
        u64::try_from(bytes).map_err(|_| error())
    }
}

impl From<&str> for Quantity {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Two quantities are equal when they are the same size, however written.
impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        match (self.bytes(), other.bytes()) {
            (Ok(a), Ok(b)) => a == b,
            _ => self.0 == other.0,
        }
    }
}
impl Eq for Quantity {}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(u64),
            Text(String),
        }
        Ok(Self(match Form::deserialize(deserializer)? {
            Form::Number(n) => n.to_string(),
            Form::Text(s) => s,
        }))
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": true,
            "pattern": Self::PATTERN,
            "maxLength": 32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_kubernetes_writes() {
        for (text, bytes) in [
            ("0", 0),
            ("128Mi", 128 << 20),
            ("1.5Gi", 3 << 29),
            ("1G", 1_000_000_000),
            ("2k", 2000),
            ("0.5", 1),
            ("15Ei", 15 << 60),
        ] {
            assert_eq!(Quantity::from(text).bytes(), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_size() {
        for text in [
            "",
            "Gi",
            "-1",
            "1e3",
            "1.Gi",
            ".5",
            "1 Gi",
            "1m",
            "16Ei",
            "1.0000000001",
            "é",
        ] {
            assert!(Quantity::from(text).bytes().is_err(), "{text:?}");
        }
    }

    #[test]
    fn bytes_survive_the_text() {
        for bytes in [0, 1, 1000, 1024, 3 << 29, u64::MAX, 1 << 63] {
            assert_eq!(Quantity::from_bytes(bytes).bytes(), Ok(bytes));
        }
        assert_eq!(Quantity::from_bytes(2 << 30).to_string(), "2Gi");
    }

    #[test]
    fn equal_by_size() {
        assert_eq!(Quantity::from("1Gi"), Quantity::from("1024Mi"));
        assert_ne!(Quantity::from("1G"), Quantity::from("1Gi"));
    }
}

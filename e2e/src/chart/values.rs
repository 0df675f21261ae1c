//! The settings of a `values.yaml`, each with the comment above its key.

use serde_json::Value;

/// One setting.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Setting {
    /// The keys that lead to it.
    pub path: Vec<String>,
    /// What it is, in one line.
    pub description: String,
    /// What it is by default; absent for a group of settings that have rows of their own.
    pub default: Option<Value>,
}

/// A line with a key.
struct Key<'a> {
    depth: usize,
    name: &'a str,
    /// Whether its value stands on the same line.
    inline: bool,
}

/// All settings, in the order of the file.
pub(super) fn settings(text: &str) -> Result<Vec<Setting>, String> {
    let whole: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let lines: Vec<_> = text.lines().collect();
    let mut found = Vec::new();
    let mut path: Vec<String> = Vec::new();
    let mut comment = String::new();
    // What is deeper than a setting with a description is its default, and no setting.
    let mut inside: Option<usize> = None;
    for (number, line) in lines.iter().enumerate() {
        if let Some(words) = line.trim().strip_prefix('#') {
            comment = format!("{comment} {}", words.trim());
            continue;
        }
        let description = std::mem::take(&mut comment).trim().to_owned();
        let Some(key) = key(line) else { continue };
        if inside.is_some_and(|depth| key.depth > depth) {
            continue;
        }
        inside = None;
        path.truncate(key.depth);
        path.push(key.name.to_owned());
        let next = lines.get(number + 1).map_or("", |line| line.trim());
        let is_group = !key.inline && (next.starts_with('#') || description.is_empty());
        if description.is_empty() && !is_group {
            return Err(format!("{} has no comment above it", path.join(".")));
        }
        if description.is_empty() {
            continue;
        }
        if !is_group {
            inside = Some(key.depth);
        }
        let value = path.iter().try_fold(&whole, |value, key| value.get(key));
        found.push(Setting {
            default: value.filter(|_| !is_group).cloned(),
            path: path.clone(),
            description,
        });
    }
    Ok(found)
}

fn key(line: &str) -> Option<Key<'_>> {
    let trimmed = line.trim_start();
    let (name, rest) = trimmed.split_once(':')?;
    let is_name = !name.is_empty() && !name.starts_with(['-', '{']) && !name.contains(' ');
    is_name.then(|| Key {
        depth: (line.len() - trimmed.len()) / 2,
        name,
        inline: !rest.trim().is_empty(),
    })
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is wrong"
)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn comments_belong_to_the_key_below() {
        let text = "# About the file.\n\n# One,\n# of two lines.\na: 1\nb:\n  # Two.\n  c: x\n  # Three.\n  d:\n    e: {f: 1}\n\
            # All of it.\ng:\n  # Four.\n  h: []\n";
        let settings = settings(text).unwrap();
        let short: Vec<_> = settings
            .iter()
            .map(|s| (s.path.join("."), s.description.as_str(), s.default.clone()))
            .collect();
        assert_eq!(
            short,
            [
                ("a".to_owned(), "One, of two lines.", Some(json!(1))),
                ("b.c".to_owned(), "Two.", Some(json!("x"))),
                ("b.d".to_owned(), "Three.", Some(json!({"e": {"f": 1}}))),
                ("g".to_owned(), "All of it.", None),
                ("g.h".to_owned(), "Four.", Some(json!([]))),
            ]
        );
    }

    #[test]
    fn a_setting_without_a_comment_is_refused() {
        assert_eq!(
            settings("# A.\na: 1\nb: 2\n").unwrap_err(),
            "b has no comment above it"
        );
    }
}

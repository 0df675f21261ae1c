//! The table of the values at the end of the chart's README.

use std::fmt::Write as _;

use super::values::Setting;

/// The line below which everything is generated.
const MARK: &str = "<!-- From here on: made from values.yaml by `make chart`. -->";

/// The page: what is written by hand, then the table.
///
/// # Errors
/// When the page has no line that says where the table begins.
pub(super) fn page(text: &str, settings: &[Setting]) -> Result<String, String> {
    let (by_hand, _) = text
        .split_once(MARK)
        .ok_or_else(|| format!("it has no line {MARK:?}"))?;
    let mut page = format!("{by_hand}{MARK}\n\n| value | default | |\n|---|---|---|\n");
    for setting in settings {
        let default = setting.default.as_ref();
        let default = default.map_or_else(String::new, |value| format!("`{value}`"));
        let cells = [&default, &setting.description].map(|cell| cell.replace('|', "\\|"));
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "| `{}` | {} | {} |",
            setting.path.join("."),
            cells[0],
            cells[1]
        );
    }
    Ok(page)
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is wrong"
)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_by_hand_stays() {
        let setting = Setting {
            path: vec!["a".to_owned(), "b".to_owned()],
            description: "One | two.".to_owned(),
            default: Some("x".into()),
        };
        let text = format!("# Chart\n\n{MARK}\nold\n");
        let page = page(&text, &[setting]).unwrap();
        assert!(page.starts_with("# Chart\n\n") && !page.contains("old"));
        assert!(
            page.ends_with("| `a.b` | `\"x\"` | One \\| two. |\n"),
            "{page}"
        );
        assert!(super::page("# Chart\n", &[]).is_err());
    }
}

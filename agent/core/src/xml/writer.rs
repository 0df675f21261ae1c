//! The few shapes of element that a domain needs, over quick-xml's writer.

use quick_xml::Writer;
use quick_xml::events::{BytesEnd, BytesStart, BytesText, Event};
use std::io;

/// Why an XML document cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum XmlError {
    /// XML 1.0 has no way to write this character, escaped or not.
    #[error("<{element}> would hold the character U+{code:04X}, which XML cannot", code = u32::from(*character))]
    Character {
        /// The element whose text or attribute it is.
        element: String,
        /// The character.
        character: char,
    },
    /// The writer failed.
    #[error("write the XML")]
    Write(#[from] io::Error),
}

/// Attributes of an element, name and value.
pub(super) type Attributes<'a> = &'a [(&'a str, &'a str)];

/// An XML document under construction.
pub(super) struct Document(Writer<Vec<u8>>);

impl Document {
    pub(super) fn new() -> Self {
        Self(Writer::new_with_indent(Vec::new(), b' ', 2))
    }

    /// `<name …/>`
    pub(super) fn empty(&mut self, name: &str, attributes: Attributes<'_>) -> Result<(), XmlError> {
        let start = start(name, attributes)?;
        Ok(self.0.write_event(Event::Empty(start))?)
    }

    /// `<name …>text</name>`
    pub(super) fn text(
        &mut self,
        name: &str,
        attributes: Attributes<'_>,
        text: &str,
    ) -> Result<(), XmlError> {
        permitted(name, text)?;
        self.0.write_event(Event::Start(start(name, attributes)?))?;
        self.0.write_event(Event::Text(BytesText::new(text)))?;
        Ok(self.0.write_event(Event::End(BytesEnd::new(name)))?)
    }

    /// `<name …>` with what `inner` writes in it.
    pub(super) fn element(
        &mut self,
        name: &str,
        attributes: Attributes<'_>,
        inner: impl FnOnce(&mut Self) -> Result<(), XmlError>,
    ) -> Result<(), XmlError> {
        self.0.write_event(Event::Start(start(name, attributes)?))?;
        inner(self)?;
        Ok(self.0.write_event(Event::End(BytesEnd::new(name)))?)
    }

    /// An element that was written, and escaped, elsewhere.
    pub(super) fn raw(&mut self, name: &str, element: &str) -> Result<(), XmlError> {
        permitted(name, element)?;
        Ok(self
            .0
            .write_event(Event::Text(BytesText::from_escaped(element)))?)
    }

    pub(super) fn finish(self) -> String {
        String::from_utf8_lossy(&self.0.into_inner()).into_owned()
    }
}

fn start<'a>(name: &'a str, attributes: Attributes<'a>) -> Result<BytesStart<'a>, XmlError> {
    for (_, value) in attributes {
        permitted(name, value)?;
    }
    Ok(BytesStart::new(name).with_attributes(attributes.iter().copied()))
}

/// Refuses what is not of XML 1.0's production `Char`.
fn permitted(element: &str, text: &str) -> Result<(), XmlError> {
    let allowed = |c: char| {
        matches!(c, '\t' | '\n' | '\r') || (c >= ' ' && !matches!(c, '\u{fffe}' | '\u{ffff}'))
    };
    match text.chars().find(|c| !allowed(*c)) {
        None => Ok(()),
        Some(character) => Err(XmlError::Character {
            element: element.to_owned(),
            character,
        }),
    }
}

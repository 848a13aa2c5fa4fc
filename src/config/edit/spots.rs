//! A YAML text as a tree whose every node knows where it begins and ends.

use std::borrow::Cow;
use std::iter::Peekable;

use granit_parser::{Event, Marker, Parser, ScalarStyle, Span};

/// A node of the text.
#[derive(Debug)]
pub(super) struct Spot<'t> {
    /// On which line it begins, counted from 1.
    pub(super) line: usize,
    /// In which column, in bytes and counted from 0: what stands before a key is spaces.
    pub(super) column: usize,
    /// Its first byte.
    pub(super) start: usize,
    /// Behind its last byte; comments and line ends after it are not part of it.
    pub(super) end: usize,
    /// In brackets or braces.
    pub(super) flow: bool,
    pub(super) kind: Kind<'t>,
}

#[derive(Debug)]
pub(super) enum Kind<'t> {
    Scalar { text: Cow<'t, str>, plain: bool },
    List(Vec<Spot<'t>>),
    Map(Vec<(Spot<'t>, Spot<'t>)>),
    Alias,
}

impl Spot<'_> {
    /// The text of a scalar.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The key and the value of a field.
    pub(super) fn entry(&self, name: &str) -> Option<(&Self, &Self)> {
        let Kind::Map(entries) = &self.kind else {
            return None;
        };
        let entry = entries.iter().find(|(key, _)| key.text() == Some(name));
        entry.map(|(key, value)| (key, value))
    }

    /// The items of a list.
    pub(super) fn items(&self) -> &[Self] {
        match &self.kind {
            Kind::List(items) => items,
            _ => &[],
        }
    }

    /// The value of a field.
    pub(super) fn field(&self, name: &str) -> Option<&Self> {
        self.entry(name).map(|(_, value)| value)
    }
}

/// Reads a text that [`yaml::parse`](super::yaml::parse) has read; an empty one is an empty map.
pub(super) fn read(text: &str) -> Spot<'_> {
    let lines = [0]
        .into_iter()
        .chain(text.match_indices('\n').map(|(at, _)| at + 1))
        .collect();
    let events = Parser::new_from_str(text).map_while(Result::ok);
    let mut reader = Reader {
        text,
        lines,
        events: events.peekable(),
    };
    reader.node(0).unwrap_or(Spot {
        line: 1,
        column: 0,
        start: 0,
        end: 0,
        flow: false,
        kind: Kind::Map(Vec::new()),
    })
}

struct Reader<'t, E: Iterator> {
    text: &'t str,
    /// Where each line begins.
    lines: Vec<usize>,
    events: Peekable<E>,
}

impl<'t, E: Iterator<Item = (Event<'t>, Span)>> Reader<'t, E> {
    /// The next node; one that is written with nothing at all is put at `empty`.
    fn node(&mut self, empty: usize) -> Option<Spot<'t>> {
        loop {
            let (event, span) = self.events.next()?;
            let start = self.byte(&span.start);
            match event {
                Event::Scalar(text, style, ..) => {
                    let plain = matches!(style, ScalarStyle::Plain);
                    let written = self
                        .text
                        .get(start..self.byte(&span.end))
                        .unwrap_or_default();
                    let kind = Kind::Scalar { text, plain };
                    let length = written.trim_end().len();
                    let nothing = plain && length == 0;
                    let start = if nothing { empty } else { start };
                    return Some(self.spot(start, start + length, false, kind));
                }
                Event::Alias(_) => {
                    let end = self.byte(&span.end);
                    return Some(self.spot(start, end, false, Kind::Alias));
                }
                Event::SequenceStart(..) => return Some(self.list(start)),
                Event::MappingStart(..) => return Some(self.map(start)),
                Event::SequenceEnd | Event::MappingEnd => return None,
                _ => {}
            }
        }
    }

    fn list(&mut self, start: usize) -> Spot<'t> {
        let flow = self.text[start..].starts_with('[');
        let mut items: Vec<Spot<'t>> = Vec::new();
        let mut end = start;
        while !self.at_end(flow, &mut end) {
            let Some(item) = self.node(end) else { break };
            end = item.end.max(end);
            items.push(item);
        }
        self.spot(start, end, flow, Kind::List(items))
    }

    fn map(&mut self, start: usize) -> Spot<'t> {
        let flow = self.text[start..].starts_with('{');
        let mut entries: Vec<(Spot<'t>, Spot<'t>)> = Vec::new();
        let mut end = start;
        while !self.at_end(flow, &mut end) {
            let Some(key) = self.node(end) else { break };
            let Some(value) = self.node(key.end) else {
                break;
            };
            end = value.end.max(key.end).max(end);
            entries.push((key, value));
        }
        self.spot(start, end, flow, Kind::Map(entries))
    }

    /// Whether the collection ends here. One in brackets ends with its bracket, any other with the
    /// last thing in it.
    fn at_end(&mut self, flow: bool, end: &mut usize) -> bool {
        let closes = |(event, _): &(Event<'t>, Span)| {
            matches!(event, Event::SequenceEnd | Event::MappingEnd)
        };
        let Some((_, span)) = self.events.next_if(closes) else {
            return self.events.peek().is_none();
        };
        if flow {
            *end = self.byte(&span.end).max(*end);
        }
        true
    }

    fn spot(&self, start: usize, end: usize, flow: bool, kind: Kind<'t>) -> Spot<'t> {
        let line = self.lines.partition_point(|&begin| begin <= start);
        let begin = self.lines[line.saturating_sub(1)];
        Spot {
            line,
            column: start - begin,
            start,
            end,
            flow,
            kind,
        }
    }

    /// Where a marker is. The parser counts bytes of a text that it has whole, as here.
    fn byte(&self, marker: &Marker) -> usize {
        marker.byte_offset().unwrap_or(self.text.len())
    }
}

//! Where an answer ends: as much HTTP as the comparison needs.

/// How an answer went on so far.
#[derive(Debug, PartialEq)]
pub(super) enum Progress {
    /// More is to come.
    Incomplete,
    /// It is whole, and this was its status.
    Whole(u16),
}

/// How far an answer has come. A chunked one is whole where its last bytes are a last chunk: an
/// answer of JSON or of events has no such bytes elsewhere.
pub(super) fn progress(read: &[u8]) -> Progress {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut answer = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(head)) = answer.parse(read) else {
        return Progress::Incomplete;
    };
    let length = answer
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok());
    let whole = match length {
        Some(length) => read.len() - head >= length,
        None => read[head..].ends_with(b"0\r\n\r\n"),
    };
    match answer.code {
        Some(status) if whole => Progress::Whole(status),
        _ => Progress::Incomplete,
    }
}

//! The content-encoding of an answer that came compressed although it was asked for plain: taken
//! off for judging only, the client gets it as it came.

use std::io::Read;

use bytes::Bytes;
use http::{HeaderMap, header};

/// Whether a body is in any content-encoding.
pub(super) fn is_coded(headers: &HeaderMap) -> bool {
    coding(headers).is_some()
}

/// The body without its content-encoding; `None` where it has none, one that isn't known, or where
/// it can't be decoded to at most `limit` bytes: a small body may be a very large one compressed.
pub(super) fn decode(headers: &HeaderMap, body: &[u8], limit: usize) -> Option<Bytes> {
    let coding = coding(headers)?;
    let mut decoder: Box<dyn Read + '_> = if coding.eq_ignore_ascii_case(b"gzip") {
        Box::new(flate2::read::MultiGzDecoder::new(body))
    } else if coding.eq_ignore_ascii_case(b"deflate") {
        Box::new(flate2::read::ZlibDecoder::new(body))
    } else if coding.eq_ignore_ascii_case(b"br") {
        Box::new(brotli::Decompressor::new(body, 4096))
    } else {
        return None;
    };
    let mut plain = Vec::new();
    let read = decoder.by_ref().take(limit as u64).read_to_end(&mut plain);
    let rest = decoder.read(&mut [0]);
    matches!((read, rest), (Ok(_), Ok(0))).then(|| plain.into())
}

fn coding(headers: &HeaderMap) -> Option<&[u8]> {
    let coding = headers
        .get(header::CONTENT_ENCODING)?
        .as_bytes()
        .trim_ascii();
    (!coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity")).then_some(coding)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use http::HeaderValue;

    use super::*;

    fn headers(coding: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_ENCODING, HeaderValue::from_static(coding))])
    }

    #[test]
    fn takes_off_what_it_knows_and_no_more_than_the_limit() {
        let plain = vec![b'x'; 5000];
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&plain).unwrap();
        let gzip = encoder.finish().unwrap();
        assert_eq!(decode(&headers("gzip"), &gzip, 5000).unwrap(), plain);
        assert_eq!(decode(&headers("gzip"), &gzip, 4999), None);
        assert_eq!(decode(&headers("gzip"), &gzip[..20], 5000), None);
        assert_eq!(decode(&headers("zstd"), &gzip, 5000), None);
        assert_eq!(decode(&headers("identity"), &gzip, 5000), None);

        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&plain).unwrap();
        let deflate = encoder.finish().unwrap();
        assert_eq!(decode(&headers("Deflate"), &deflate, 5000).unwrap(), plain);

        let mut brotli = Vec::new();
        brotli::CompressorWriter::new(&mut brotli, 4096, 3, 20)
            .write_all(&plain)
            .unwrap();
        assert_eq!(decode(&headers("br"), &brotli, 5000).unwrap(), plain);
    }
}

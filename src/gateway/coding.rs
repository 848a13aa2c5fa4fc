//! The content-encoding of an answer that came compressed although it was asked for plain: taken
//! off for judging only, the client gets it as it came.

use std::io::Read;

use bytes::Bytes;
use http::{HeaderMap, header};

/// Whether a body is in any content-encoding.
pub(super) fn is_coded(headers: &HeaderMap) -> bool {
    coding(headers).is_some()
}

/// A body that is not in the content-encoding that its head says: cut, most likely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// The body without its content-encoding; `None` where it has none, one that isn't known, or where
/// it would be longer than `limit` bytes: a small body may be a very large one compressed.
///
/// # Errors
/// [`Broken`].
pub(super) fn decode(
    headers: &HeaderMap,
    body: &[u8],
    limit: usize,
) -> Result<Option<Bytes>, Broken> {
    let Some(coding) = coding(headers).filter(|_| !body.is_empty()) else {
        return Ok(None);
    };
    let mut decoder: Box<dyn Read + '_> = if coding.eq_ignore_ascii_case(b"gzip") {
        Box::new(flate2::read::MultiGzDecoder::new(body))
    } else if coding.eq_ignore_ascii_case(b"deflate") {
        Box::new(flate2::read::ZlibDecoder::new(body))
    } else if coding.eq_ignore_ascii_case(b"br") {
        Box::new(brotli::Decompressor::new(body, 4096))
    } else {
        return Ok(None);
    };
    let mut plain = Vec::new();
    let mut limited = decoder.by_ref().take(limit as u64);
    limited.read_to_end(&mut plain).map_err(|_| Broken)?;
    match decoder.read(&mut [0]) {
        Ok(0) => Ok(Some(plain.into())),
        Ok(_) => Ok(None),
        Err(_) => Err(Broken),
    }
}

fn coding(headers: &HeaderMap) -> Option<&[u8]> {
    said(headers.get(header::CONTENT_ENCODING)?.as_bytes())
}

/// What a `content-encoding` says, if it says anything.
pub(super) fn said(coding: &[u8]) -> Option<&[u8]> {
    let coding = coding.trim_ascii();
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
        assert_eq!(decode(&headers("gzip"), &gzip, 5000), taken_off(&plain));
        assert_eq!(decode(&headers("GZIP"), &gzip, 5000), taken_off(&plain));
        assert_eq!(decode(&headers("gzip"), &gzip, 4999), Ok(None));
        assert_eq!(decode(&headers("gzip"), b"", 5000), Ok(None));
        assert_eq!(decode(&headers("zstd"), &gzip, 5000), Ok(None));
        assert_eq!(decode(&headers("gzip, br"), &gzip, 5000), Ok(None));
        assert_eq!(decode(&headers("identity"), &gzip, 5000), Ok(None));
        assert_eq!(decode(&HeaderMap::new(), &gzip, 5000), Ok(None));

        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&plain).unwrap();
        let deflate = encoder.finish().unwrap();
        let decoded = decode(&headers("Deflate"), &deflate, 5000);
        assert_eq!(decoded, taken_off(&plain));

        let mut brotli = Vec::new();
        brotli::CompressorWriter::new(&mut brotli, 4096, 3, 20)
            .write_all(&plain)
            .unwrap();
        assert_eq!(decode(&headers("br"), &brotli, 5000), taken_off(&plain));

        for (coding, body) in [("gzip", gzip), ("deflate", deflate), ("br", brotli)] {
            let headers = headers(coding);
            for cut in [1, body.len() / 2, body.len() - 1] {
                let decoded = decode(&headers, &body[..cut], 5000);
                assert_eq!(decoded, Err(Broken), "{coding} cut at {cut}");
            }
            assert_eq!(
                decode(&headers, b"{\"plain\":true}", 5000),
                Err(Broken),
                "{coding}"
            );
        }
    }

    fn taken_off(plain: &[u8]) -> Result<Option<Bytes>, Broken> {
        Ok(Some(Bytes::copy_from_slice(plain)))
    }
}

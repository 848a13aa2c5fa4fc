//! Scripts, styles and pictures, each named by its content: a new one is a new name, so that
//! browsers may keep what they have for good.
//!
//! Those of others stand here as their authors ship them, each with its licence beside it:
//! htmx (fetches pages in the background), Sortable (drags cards, by touch too) and uPlot (charts).

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};

struct Asset {
    name: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
}

macro_rules! asset {
    ($name:literal, $media_type:expr) => {
        Asset {
            name: $name,
            media_type: $media_type,
            bytes: include_bytes!(concat!("assets/", $name)),
        }
    };
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

const ASSETS: &[Asset] = &[
    asset!("console.css", STYLE),
    asset!("console.js", SCRIPT),
    asset!("icon.svg", "image/svg+xml"),
    asset!("htmx.min.js", SCRIPT),
    asset!("htmx.LICENSE", TEXT),
    asset!("sortable.min.js", SCRIPT),
    asset!("sortable.LICENSE", TEXT),
    asset!("uplot.min.js", SCRIPT),
    asset!("uplot.min.css", STYLE),
    asset!("uplot.LICENSE", TEXT),
    asset!("try_out.js", SCRIPT),
    asset!("live.js", SCRIPT),
];

/// By the name under which it is fetched: `console-0123456789ab.css`.
static BY_HASHED: LazyLock<HashMap<String, &Asset>> = LazyLock::new(|| {
    let hashed = |asset: &'static Asset| (hashed(asset), asset);
    ASSETS.iter().map(hashed).collect()
});

/// By the name under which it stands here.
static PATHS: LazyLock<HashMap<&str, String>> = LazyLock::new(|| {
    let path =
        |(hashed, asset): (&String, &&Asset)| (asset.name, format!("/console/assets/{hashed}"));
    BY_HASHED.iter().map(path).collect()
});

/// Where an asset is fetched.
pub(super) fn path(name: &str) -> &'static str {
    PATHS.get(name).map_or("", String::as_str)
}

/// An asset, for good.
pub(super) async fn asset(Path(name): Path<String>) -> Response {
    let Some(asset) = BY_HASHED.get(&name) else {
        return (StatusCode::NOT_FOUND, "there is no such file\n").into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, asset.media_type),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    (headers, asset.bytes).into_response()
}

fn hashed(asset: &Asset) -> String {
    let digest = format!("{:x}", Sha256::digest(asset.bytes));
    let (stem, extension) = asset.name.split_once('.').unwrap_or((asset.name, ""));
    format!("{stem}-{}.{extension}", &digest[..12])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_others_has_its_licence_beside_it() {
        for asset in ASSETS.iter().filter(|asset| asset.name.contains(".min.")) {
            let (name, _) = asset.name.split_once('.').unwrap();
            let licence = path(&format!("{name}.LICENSE"));
            assert!(licence.ends_with(".LICENSE"), "{name}: {licence:?}");
        }
    }

    #[test]
    fn no_asset_loads_anything_from_elsewhere() {
        for asset in ASSETS.iter().filter(|asset| asset.media_type != TEXT) {
            let text = std::str::from_utf8(asset.bytes).unwrap();
            for outside in ["sourceMappingURL", "@import", "url(http", "src=\"http"] {
                assert!(!text.contains(outside), "{}: {outside}", asset.name);
            }
        }
    }
}

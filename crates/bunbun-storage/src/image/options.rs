//! What is asked of a rendering: `width height resize quality format`, as parameters, in the body
//! of a request to sign, or in a token.

use http::HeaderMap;
use serde::Deserialize;

use crate::{
    coerce,
    error::{Result, StorageError},
};

/// Largest side in pixels; larger values are cut to it.
const MAX_SIDE: u32 = 2500;

/// How an image fills its box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Resize {
    /// Fills it and is cut.
    #[default]
    Cover,
    /// Fits into it.
    Contain,
    /// Is stretched to it.
    Fill,
}

/// What a client wants to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Wish {
    /// The source's own format.
    Origin,
    /// WebP.
    Webp,
    /// AVIF; there is no encoder here, so it is taken as the wish for the best there is.
    Avif,
}

/// What an image is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// JPEG.
    Jpeg,
    /// PNG.
    Png,
    /// WebP.
    Webp,
}

/// A transformation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Options {
    #[serde(default, deserialize_with = "coerce::optional_integer")]
    pub(crate) width: Option<u32>,
    #[serde(default, deserialize_with = "coerce::optional_integer")]
    pub(crate) height: Option<u32>,
    pub(crate) resize: Option<Resize>,
    #[serde(default, deserialize_with = "coerce::optional_integer")]
    pub(crate) quality: Option<u8>,
    pub(crate) format: Option<Wish>,
}

impl Options {
    /// Reads the parameters of a query.
    pub(crate) fn of_query(query: Option<&str>) -> Result<Self> {
        let mut options = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            options.set(&name, &value)?;
        }
        options.checked()
    }

    /// Reads a token's `height:50,width:100,resize:cover,quality:80`.
    pub(crate) fn of_text(text: &str) -> Result<Self> {
        let mut options = Self::default();
        for (name, value) in text.split(',').filter_map(|pair| pair.split_once(':')) {
            options.set(name, value)?;
        }
        options.checked()
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let invalid =
            |rule: &str| StorageError::validation(format!("querystring/{name} must be {rule}"));
        let side = || match value.parse::<u32>() {
            Ok(side) => Ok(Some(side).filter(|side| *side > 0)),
            Err(_) => Err(invalid("integer")),
        };
        match name {
            "width" => self.width = side()?,
            "height" => self.height = side()?,
            "quality" => self.quality = Some(value.parse().map_err(|_| invalid("integer"))?),
            "resize" => {
                self.resize = Some(match value {
                    "cover" => Resize::Cover,
                    "contain" => Resize::Contain,
                    "fill" => Resize::Fill,
                    _ => return Err(invalid("equal to one of the allowed values")),
                });
            }
            "format" => {
                self.format = Some(match value {
                    "origin" => Wish::Origin,
                    "webp" => Wish::Webp,
                    "avif" => Wish::Avif,
                    _ => return Err(invalid("equal to one of the allowed values")),
                });
            }
            _ => {}
        }
        Ok(())
    }

    /// Cuts sides to what is possible and refuses other qualities than 20 to 100.
    pub(crate) fn checked(mut self) -> Result<Self> {
        let cut = |side: Option<u32>| side.filter(|side| *side > 0).map(|side| side.min(MAX_SIDE));
        self.width = cut(self.width);
        self.height = cut(self.height);
        match self.quality {
            Some(quality) if !(20..=100).contains(&quality) => Err(StorageError::validation(
                "querystring/quality must be >= 20 and <= 100",
            )),
            _ => Ok(self),
        }
    }

    /// As a token and the header `X-Transformations` have it.
    pub(crate) fn to_text(&self) -> String {
        let mut parts = Vec::new();
        if let Some(height) = self.height {
            parts.push(format!("height:{height}"));
        }
        if let Some(width) = self.width {
            parts.push(format!("width:{width}"));
        }
        if self.width.or(self.height).is_some() {
            let resize = match self.resize.unwrap_or_default() {
                Resize::Cover => "cover",
                Resize::Contain => "contain",
                Resize::Fill => "fill",
            };
            parts.push(format!("resize:{resize}"));
        }
        if let Some(quality) = self.quality {
            parts.push(format!("quality:{quality}"));
        }
        parts.join(",")
    }

    /// The wished format as a token has it.
    pub(crate) fn format_text(&self) -> Option<String> {
        self.format.map(|wish| {
            let text = match wish {
                Wish::Origin => "origin",
                Wish::Webp => "webp",
                Wish::Avif => "avif",
            };
            text.to_owned()
        })
    }

    /// What the image is written as: by the wish, else WebP for clients that accept it, else as
    /// the source.
    pub(crate) fn output(&self, source: &str, headers: &HeaderMap) -> Format {
        let own = match source {
            "image/jpeg" | "image/jpg" | "image/bmp" => Format::Jpeg,
            "image/webp" => Format::Webp,
            _ => Format::Png,
        };
        match self.format {
            Some(Wish::Origin) => own,
            Some(Wish::Webp) => Format::Webp,
            _ if accepts_webp(headers) => Format::Webp,
            // A client that says what it accepts and leaves WebP out does not get it.
            _ if own == Format::Webp && names_images(headers) => Format::Png,
            _ => own,
        }
    }
}

fn accept(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(http::header::ACCEPT).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

fn accepts_webp(headers: &HeaderMap) -> bool {
    accept(headers).any(|entry| {
        let mut parts = entry.split(';').map(str::trim);
        let refused = parts.clone().any(|part| matches!(part, "q=0" | "q=0.0"));
        !refused
            && parts
                .next()
                .is_some_and(|mime| mime.eq_ignore_ascii_case("image/webp"))
    })
}

/// Whether a client names single image types and not all of them.
fn names_images(headers: &HeaderMap) -> bool {
    let any = |mime: &str| {
        accept(headers).any(|entry| entry.split(';').next().is_some_and(|m| m.trim() == mime))
    };
    accept(headers).any(|entry| entry.starts_with("image/")) && !any("image/*") && !any("*/*")
}

impl Format {
    pub(crate) const fn mimetype(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Webp => "image/webp",
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header::ACCEPT};

    use super::{Format, Options, Resize};

    #[test]
    fn options_go_there_and_back() {
        let options =
            Options::of_query(Some("width=100&height=50&resize=contain&quality=80")).unwrap();
        assert_eq!(
            options.to_text(),
            "height:50,width:100,resize:contain,quality:80"
        );
        assert_eq!(Options::of_text(&options.to_text()).unwrap(), options);
        let cut = Options::of_query(Some("width=99999&height=0")).unwrap();
        assert_eq!((cut.width, cut.height), (Some(2500), None));
        assert_eq!(
            Options::of_query(Some("width=1")).unwrap().to_text(),
            "width:1,resize:cover"
        );
        assert_eq!(Options::default().resize.unwrap_or_default(), Resize::Cover);
        for bad in [
            "width=a",
            "width=-1",
            "quality=19",
            "quality=101",
            "resize=x",
            "format=exe",
            "width=99999999999999",
        ] {
            assert!(Options::of_query(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn webp_goes_to_those_who_accept_it() {
        let output = |query: &str, source: &str, accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            Options::of_query(Some(query))
                .unwrap()
                .output(source, &headers)
        };
        assert_eq!(
            output("", "image/png", "image/avif,image/webp,*/*"),
            Format::Webp
        );
        assert_eq!(output("", "image/png", "image/webp;q=0, */*"), Format::Png);
        assert_eq!(output("", "image/jpeg", "*/*"), Format::Jpeg);
        assert_eq!(
            output("format=origin", "image/jpeg", "image/webp"),
            Format::Jpeg
        );
        assert_eq!(output("format=webp", "image/jpeg", "*/*"), Format::Webp);
        assert_eq!(output("", "image/webp", "*/*"), Format::Webp);
        assert_eq!(output("", "image/webp", "image/png"), Format::Png);
    }
}

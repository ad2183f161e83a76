//! Decodes, turns, resizes and encodes one image. Sizes are looked at before anything is decoded:
//! a small file can say that it has billions of pixels.

use std::io::Cursor;

use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::{
    DynamicImage, ImageDecoder as _, ImageError, ImageReader, Limits,
    codecs::{jpeg::JpegEncoder, png::PngEncoder},
};

use super::{
    Rendered,
    options::{Format, Options, Resize},
};

/// The quality where none is asked for.
const QUALITY: u8 = 80;

/// Longest side of a source, which is the longest of a JPEG. Filters need memory and time in
/// proportion to it, however few pixels there are.
const MAX_SOURCE_SIDE: u32 = 65_535;
/// Longest side of a rendering, which is the longest of a WebP.
const MAX_SIDE: f64 = 16_383.0;

/// Why an image cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// It is none that we can read.
    #[error("no image that can be read")]
    NoImage(#[source] ImageError),
    /// It is too large to be decoded.
    #[error("too many pixels")]
    TooManyPixels,
    /// A side is too long.
    #[error("a side is too long")]
    TooLong,
    /// It could not be written.
    #[error("the image cannot be encoded: {0}")]
    Encoding(String),
}

/// Renders an image.
pub(crate) fn render(
    source: &[u8],
    options: &Options,
    format: Format,
    max_pixels: u64,
) -> Result<Rendered, Failure> {
    let image = decode(source, max_pixels)?;
    let image = resize(image, options)?;
    let quality = options.quality.unwrap_or(QUALITY);
    let bytes = encode(&image, format, quality)?;
    Ok(Rendered {
        bytes: bytes.into(),
        mimetype: format.mimetype(),
    })
}

fn decode(source: &[u8], max_pixels: u64) -> Result<DynamicImage, Failure> {
    let io = |error: std::io::Error| Failure::NoImage(ImageError::IoError(error));
    let mut reader = ImageReader::new(Cursor::new(source))
        .with_guessed_format()
        .map_err(io)?;
    let mut limits = Limits::default();
    // Four bytes per pixel, twice, and what the decoder itself needs.
    limits.max_alloc = Some(max_pixels.saturating_mul(8).saturating_add(64 << 20));
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(Failure::NoImage)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > max_pixels {
        return Err(Failure::TooManyPixels);
    }
    if width.max(height) > MAX_SOURCE_SIDE {
        return Err(Failure::TooLong);
    }
    let orientation = decoder.orientation();
    let mut image = DynamicImage::from_decoder(decoder).map_err(|error| match error {
        ImageError::Limits(_) => Failure::TooManyPixels,
        other => Failure::NoImage(other),
    })?;
    if let Ok(orientation) = orientation {
        image.apply_orientation(orientation);
    }
    // Eight bits are what all outputs have.
    Ok(if image.color().has_alpha() {
        DynamicImage::ImageRgba8(image.into_rgba8())
    } else {
        DynamicImage::ImageRgb8(image.into_rgb8())
    })
}

/// A target size and the part of the source that is shown in it.
#[derive(Debug, PartialEq)]
struct Plan {
    width: u32,
    height: u32,
    /// Left, top, width, height.
    part: (f64, f64, f64, f64),
}

/// Images are never enlarged, and none becomes longer than every format can be, as the original's renderer does not.
fn plan(source: (u32, u32), options: &Options) -> Plan {
    let (sw, sh) = (f64::from(source.0), f64::from(source.1));
    let whole = (0.0, 0.0, sw, sh);
    let (width, height) = (options.width.map(f64::from), options.height.map(f64::from));
    let (target, part) = match (width, height, options.resize.unwrap_or_default()) {
        (None, None, _) => ((sw, sh), whole),
        // One side alone: the other follows.
        (Some(w), None, Resize::Cover | Resize::Contain) => {
            let scale = (w / sw).min(1.0);
            ((sw * scale, sh * scale), whole)
        }
        (None, Some(h), Resize::Cover | Resize::Contain) => {
            let scale = (h / sh).min(1.0);
            ((sw * scale, sh * scale), whole)
        }
        (w, h, Resize::Fill) => ((w.unwrap_or(sw).min(sw), h.unwrap_or(sh).min(sh)), whole),
        (Some(w), Some(h), Resize::Contain) => {
            let scale = (w / sw).min(h / sh).min(1.0);
            ((sw * scale, sh * scale), whole)
        }
        (Some(w), Some(h), Resize::Cover) => {
            let scale = (w / sw).max(h / sh).min(1.0);
            let (w, h) = (w.min(sw * scale), h.min(sh * scale));
            let (pw, ph) = (w / scale, h / scale);
            ((w, h), ((sw - pw) / 2.0, (sh - ph) / 2.0, pw, ph))
        }
    };
    let scale = (MAX_SIDE / target.0.max(target.1)).min(1.0);
    let target = (target.0 * scale, target.1 * scale);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and the source's own size"
    )]
    let pixels = |side: f64| side.round().max(1.0) as u32;
    Plan {
        width: pixels(target.0),
        height: pixels(target.1),
        part,
    }
}

fn resize(image: DynamicImage, options: &Options) -> Result<DynamicImage, Failure> {
    let Plan {
        width,
        height,
        part,
    } = plan((image.width(), image.height()), options);
    if (width, height) == (image.width(), image.height()) {
        return Ok(image);
    }
    let mut target = DynamicImage::new(width, height, image.color());
    let how = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3))
        .crop(part.0, part.1, part.2, part.3);
    Resizer::new()
        .resize(&image, &mut target, &how)
        .map_err(|error| Failure::Encoding(error.to_string()))?;
    Ok(target)
}

fn encode(image: &DynamicImage, format: Format, quality: u8) -> Result<Vec<u8>, Failure> {
    let failed = |error: ImageError| Failure::Encoding(error.to_string());
    let mut bytes = Vec::new();
    match format {
        Format::Jpeg => {
            let encoder = JpegEncoder::new_with_quality(&mut bytes, quality);
            image
                .to_rgb8()
                .write_with_encoder(encoder)
                .map_err(failed)?;
        }
        Format::Png => image
            .write_with_encoder(PngEncoder::new(&mut bytes))
            .map_err(failed)?,
        Format::Webp => {
            let (width, height) = (image.width(), image.height());
            let encoded = match image {
                DynamicImage::ImageRgba8(pixels) => {
                    webp::Encoder::from_rgba(pixels.as_raw(), width, height)
                        .encode_simple(false, f32::from(quality))
                }
                other => {
                    let pixels = other.to_rgb8();
                    webp::Encoder::from_rgb(pixels.as_raw(), width, height)
                        .encode_simple(false, f32::from(quality))
                }
            };
            let encoded = encoded.map_err(|error| Failure::Encoding(format!("{error:?}")))?;
            bytes.extend_from_slice(&encoded);
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::{Failure, plan, render};
    use crate::image::options::{Format, Options};

    fn sizes(source: (u32, u32), query: &str) -> (u32, u32) {
        let plan = plan(source, &Options::of_query(Some(query)).unwrap());
        (plan.width, plan.height)
    }

    fn png(width: u32, height: u32) -> Vec<u8> {
        let image = image::DynamicImage::new_rgba8(width, height);
        let mut bytes = std::io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn boxes_are_filled_as_asked_and_nothing_is_enlarged() {
        for (source, query, size) in [
            ((400, 200), "width=100&height=100", (100, 100)),
            ((400, 200), "width=100&height=100&resize=contain", (100, 50)),
            ((400, 200), "width=100&height=100&resize=fill", (100, 100)),
            ((400, 200), "width=100", (100, 50)),
            ((400, 200), "height=100", (200, 100)),
            ((400, 200), "width=100&resize=fill", (100, 200)),
            ((400, 200), "", (400, 200)),
            ((40, 20), "width=100", (40, 20)),
            ((40, 20), "width=100&height=10", (40, 10)),
            ((1, 2000), "width=1&height=1&resize=contain", (1, 1)),
            ((100, 20_000), "", (82, 16_383)),
            ((20_000, 100), "height=100", (16_383, 82)),
            ((1, 65_535), "width=100", (1, 16_383)),
        ] {
            assert_eq!(sizes(source, query), size, "{source:?} {query}");
        }
    }

    #[test]
    fn images_come_out_in_every_format() {
        let source = png(64, 32);
        let options = Options::of_query(Some("width=16&quality=50")).unwrap();
        for format in [Format::Jpeg, Format::Png, Format::Webp] {
            let rendered = render(&source, &options, format, 1_000_000).unwrap();
            let image = image::load_from_memory(&rendered.bytes).unwrap();
            assert_eq!((image.width(), image.height()), (16, 8), "{format:?}");
            assert_eq!(rendered.mimetype, format.mimetype());
        }
    }

    #[test]
    fn bombs_and_nonsense_are_refused_before_they_are_decoded() {
        let options = Options::default();
        let bomb = png(2000, 2000);
        assert!(bomb.len() < 100_000);
        let refused = render(&bomb, &options, Format::Png, 1_000_000);
        assert!(matches!(refused, Err(Failure::TooManyPixels)));
        let long = render(&png(65_536, 1), &options, Format::Png, 1_000_000);
        assert!(matches!(long, Err(Failure::TooLong)));
        // A header that promises 65 535 x 65 535 pixels.
        let mut header = png(1, 1);
        header[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
        assert!(render(&header, &options, Format::Png, 50_000_000).is_err());
        for nonsense in [&b""[..], b"GIF89a", b"<svg/>", b"\x89PNG\r\n\x1a\n"] {
            assert!(matches!(
                render(nonsense, &options, Format::Png, 1000),
                Err(Failure::NoImage(_))
            ));
        }
    }
}

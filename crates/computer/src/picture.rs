//! Pictures of the screen: pointer, scale, formats.

use jpeg_encoder::{ColorType, Encoder};

/// Pixels of a part of the screen.
pub(crate) struct Raw {
    /// Where it is on the screen.
    pub(crate) left: i32,
    pub(crate) top: i32,
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// Four bytes a pixel, rows without padding; the fourth means nothing.
    pub(crate) bgrx: Vec<u8>,
}

/// The pointer's image.
pub(crate) struct Pointer {
    /// Where its upper left corner is on the screen.
    pub(crate) left: i32,
    pub(crate) top: i32,
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// Premultiplied.
    pub(crate) argb: Vec<u32>,
}

/// How a picture is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Png,
    Jpeg,
    /// Without loss.
    Webp,
}

impl Format {
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Webp => "image/webp",
        }
    }
}

/// Says whether pixels are the same: another number means that they are not.
pub(crate) fn tag(bgrx: &[u8]) -> u64 {
    const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
    let (pairs, rest) = bgrx.as_chunks::<8>();
    let mix = |hash: u64, value: u64| (hash ^ value & 0x00ff_ffff_00ff_ffff).wrapping_mul(MIX).rotate_left(31);
    let hash = pairs.iter().fold(bgrx.len() as u64, |hash, pair| mix(hash, u64::from_le_bytes(*pair)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(hash, u64::from_le_bytes(last))
}

impl Raw {
    /// Draws the pointer over it.
    pub(crate) fn draw(&mut self, pointer: &Pointer) {
        for (row, line) in pointer.argb.chunks_exact(pointer.width.max(1)).take(pointer.height).enumerate() {
            let y = pointer.top - self.top + row as i32;
            let Some(y) = usize::try_from(y).ok().filter(|y| *y < self.height) else { continue };
            for (column, argb) in line.iter().enumerate() {
                let x = pointer.left - self.left + column as i32;
                let Some(x) = usize::try_from(x).ok().filter(|x| *x < self.width) else { continue };
                let [blue, green, red, alpha] = argb.to_le_bytes();
                let at = (y * self.width + x) * 4;
                for (below, above) in self.bgrx[at..at + 3].iter_mut().zip([blue, green, red]) {
                    let kept = u32::from(*below) * (255 - u32::from(alpha)) / 255;
                    *below = u8::try_from(kept + u32::from(above)).unwrap_or(u8::MAX);
                }
            }
        }
    }

    /// The same, smaller: each pixel is the mean of those that it covers. `scale` is from 0.1 to 1.
    pub(crate) fn scaled(self, scale: f64) -> Self {
        let length = |length: usize| ((length as f64 * scale).round() as usize).clamp(1, length.max(1));
        let (width, height) = (length(self.width), length(self.height));
        if (width, height) == (self.width, self.height) || self.bgrx.is_empty() {
            return self;
        }
        let columns = spans(self.width, width);
        let mut bgrx = Vec::with_capacity(width * height * 4);
        // Sums of one row of the result, with a weight of ONE for a whole row.
        let mut sums = vec![0_u32; self.width * 4];
        for span in spans(self.height, height) {
            sums.fill(0);
            for (row, weight) in span.weights() {
                let line = &self.bgrx[row * self.width * 4..][..self.width * 4];
                for (sum, byte) in sums.iter_mut().zip(line) {
                    *sum += u32::from(*byte) * weight;
                }
            }
            for column in &columns {
                let mut pixel = [0_u64; 3];
                for (x, weight) in column.weights() {
                    for (channel, sum) in pixel.iter_mut().zip(&sums[x * 4..]) {
                        *channel += u64::from(*sum) * u64::from(weight);
                    }
                }
                let area = u64::from(span.total()) * u64::from(column.total());
                bgrx.extend(pixel.map(|sum| u8::try_from((sum + area / 2) / area).unwrap_or(u8::MAX)));
                bgrx.push(0);
            }
        }
        Self { width, height, bgrx, ..self }
    }

    /// As a file. Quality is from 1 to 100, and for JPEG.
    pub(crate) fn encode(&self, format: Format, quality: u8) -> Result<Vec<u8>, String> {
        let (width, height) = (self.width as u32, self.height as u32);
        let mut out = Vec::with_capacity(self.bgrx.len() / 16);
        match format {
            Format::Jpeg => Encoder::new(&mut out, quality)
                .encode(&self.bgrx, self.width as u16, self.height as u16, ColorType::Bgra)
                .map_err(|error| error.to_string())?,
            Format::Png => {
                let mut encoder = png::Encoder::new(&mut out, width, height);
                encoder.set_color(png::ColorType::Rgb);
                encoder.set_depth(png::BitDepth::Eight);
                encoder.set_compression(png::Compression::Fast);
                let mut writer = encoder.write_header().map_err(|error| error.to_string())?;
                writer.write_image_data(&self.rgb()).map_err(|error| error.to_string())?;
                writer.finish().map_err(|error| error.to_string())?;
            }
            Format::Webp => image_webp::WebPEncoder::new(&mut out)
                .encode(&self.rgb(), width, height, image_webp::ColorType::Rgb8)
                .map_err(|error| error.to_string())?,
        }
        Ok(out)
    }

    fn rgb(&self) -> Vec<u8> {
        let mut rgb = vec![0; self.bgrx.len() / 4 * 3];
        for (to, from) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(self.bgrx.as_chunks::<4>().0) {
            *to = [from[2], from[1], from[0]];
        }
        rgb
    }
}

/// A whole row or column, in weights of [`Span`]: small enough that the sums of a screen fit.
const ONE: u32 = 256;

/// What one pixel of the result covers on one axis.
struct Span {
    first: usize,
    weights: Vec<u32>,
}

impl Span {
    fn weights(&self) -> impl Iterator<Item = (usize, u32)> {
        (self.first..).zip(self.weights.iter().copied())
    }

    fn total(&self) -> u32 {
        self.weights.iter().sum()
    }
}

fn spans(from: usize, to: usize) -> Vec<Span> {
    let step = from as f64 / to as f64;
    let span = |index: usize| {
        let (start, end) = (index as f64 * step, ((index + 1) as f64 * step).min(from as f64));
        let first = (start as usize).min(from - 1);
        let weight = |at: usize| {
            let covered = end.min((at + 1) as f64) - start.max(at as f64);
            (covered * f64::from(ONE)).round() as u32
        };
        let mut weights: Vec<u32> = (first..from).take_while(|at| (*at as f64) < end).map(weight).collect();
        if weights.iter().all(|weight| *weight == 0) {
            weights = vec![ONE];
        }
        Span { first, weights }
    };
    (0..to).map(span).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(width: usize, height: usize, pixel: impl Fn(usize, usize) -> [u8; 3]) -> Raw {
        let at = |i: usize| {
            let [red, green, blue] = pixel(i % width, i / width);
            [blue, green, red, 9]
        };
        Raw { left: 10, top: 20, width, height, bgrx: (0..width * height).flat_map(at).collect() }
    }

    fn pixel(raw: &Raw, x: usize, y: usize) -> [u8; 3] {
        let at = (y * raw.width + x) * 4;
        [raw.bgrx[at + 2], raw.bgrx[at + 1], raw.bgrx[at]]
    }

    #[test]
    fn scaling_takes_means_and_keeps_what_is_even() {
        let half = raw(4, 2, |x, _| if x % 2 == 0 { [0, 100, 255] } else { [200, 100, 255] }).scaled(0.5);
        assert_eq!((half.width, half.height), (2, 1));
        assert_eq!(pixel(&half, 0, 0), [100, 100, 255]);
        let even = raw(1440, 900, |_, _| [255, 254, 1]).scaled(0.37);
        assert_eq!((even.width, even.height), (533, 333));
        assert!((0..even.height).all(|y| (0..even.width).all(|x| pixel(&even, x, y) == [255, 254, 1])));
        let edge = raw(10, 1, |x, _| [if x < 5 { 0 } else { 250 }; 3]).scaled(0.3);
        assert_eq!([pixel(&edge, 0, 0)[0], pixel(&edge, 1, 0)[0], pixel(&edge, 2, 0)[0]], [0, 125, 250]);
        let tiny = raw(1, 3, |_, _| [7; 3]).scaled(0.1);
        assert_eq!((tiny.width, tiny.height, pixel(&tiny, 0, 0)), (1, 1, [7; 3]));
    }

    #[test]
    fn the_pointer_is_laid_over_with_its_transparency_and_cut() {
        let mut picture = raw(3, 3, |_, _| [100; 3]);
        let argb = vec![0xffff_0000, 0x8000_0080, 0, 0xff00_ff00];
        picture.draw(&Pointer { left: 12, top: 22, width: 2, height: 2, argb: argb.clone() });
        assert_eq!(pixel(&picture, 2, 2), [255, 0, 0]);
        assert_eq!(pixel(&picture, 1, 1), [100; 3]);
        picture.draw(&Pointer { left: 9, top: 19, width: 2, height: 2, argb: argb.clone() });
        assert_eq!(pixel(&picture, 0, 0), [0, 255, 0]);
        picture.draw(&Pointer { left: 10, top: 20, width: 2, height: 2, argb });
        assert_eq!(pixel(&picture, 1, 0), [49, 49, 177]);
        picture.draw(&Pointer { left: -9, top: i32::from(i16::MIN), width: 0, height: 0, argb: Vec::new() });
    }

    #[test]
    fn every_format_can_be_read_back() {
        let picture = raw(16, 8, |x, _| if x < 8 { [250, 10, 20] } else { [0, 120, 240] });
        let png = picture.encode(Format::Png, 85).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(&png)).read_info().unwrap();
        let mut pixels = vec![0; 16 * 8 * 3];
        reader.next_frame(&mut pixels).unwrap();
        assert_eq!((&pixels[..3], &pixels[45..48]), (&[250, 10, 20][..], &[0, 120, 240][..]));

        let webp = picture.encode(Format::Webp, 85).unwrap();
        let mut decoder = image_webp::WebPDecoder::new(std::io::Cursor::new(&webp)).unwrap();
        let mut pixels = vec![0; 16 * 8 * 3];
        decoder.read_image(&mut pixels).unwrap();
        assert_eq!((&pixels[..3], &pixels[45..48]), (&[250, 10, 20][..], &[0, 120, 240][..]));

        let jpeg = picture.encode(Format::Jpeg, 95).unwrap();
        let mut decoder = jpeg_decoder::Decoder::new(&jpeg[..]);
        let pixels = decoder.decode().unwrap();
        assert!(pixels[..3].iter().zip([250, 10, 20]).all(|(a, b)| a.abs_diff(b) < 12), "{:?}", &pixels[..3]);
    }

    #[test]
    fn tags_tell_pixels_apart_and_ignore_padding() {
        let (one, mut other) = (raw(3, 1, |x, _| [x as u8; 3]), raw(3, 1, |x, _| [x as u8; 3]));
        other.bgrx[3] = 77;
        other.bgrx[11] = 77;
        assert_eq!(tag(&one.bgrx), tag(&other.bgrx));
        other.bgrx[8] ^= 1;
        assert_ne!(tag(&one.bgrx), tag(&other.bgrx));
    }
}

//! The screen made small, for lists of many.

use std::hash::{DefaultHasher, Hasher};

use crate::Size;

/// JPEG quality.
const QUALITY: u8 = 75;

/// A small picture of the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thumbnail {
    /// Tells pictures of one process apart: the same for the same pixels.
    pub tag: u64,
    /// `None` when it is the one that the asker has.
    pub jpeg: Option<Vec<u8>>,
}

/// Makes a picture of BGRA pixels at most `width` pixels wide; encodes it unless its tag is `known`.
pub(crate) fn make(size: Size, pixels: &[u8], width: u16, known: Option<u64>) -> std::io::Result<Thumbnail> {
    let (small, bgr) = shrink(size, pixels, width);
    let mut hasher = DefaultHasher::new();
    hasher.write_u16(small.width);
    hasher.write(&bgr);
    let tag = hasher.finish();
    if known == Some(tag) {
        return Ok(Thumbnail { tag, jpeg: None });
    }
    let mut jpeg = Vec::new();
    jpeg_encoder::Encoder::new(&mut jpeg, QUALITY)
        .encode(&bgr, small.width, small.height, jpeg_encoder::ColorType::Bgr)
        .map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(Thumbnail { tag, jpeg: Some(jpeg) })
}

/// Means over boxes of pixels, as BGR. A picture that is small enough keeps its size.
fn shrink(size: Size, pixels: &[u8], width: u16) -> (Size, Vec<u8>) {
    let (from_width, from_height) = (usize::from(size.width), usize::from(size.height));
    let to_width = usize::from(width).clamp(1, from_width.max(1));
    let to_height = (from_height * to_width / from_width.max(1)).max(1);
    let mut small = Vec::with_capacity(to_width * to_height * 3);
    let mut sums = vec![[0u32; 3]; to_width];
    let edge = |index: usize, to: usize, from: usize| index * from / to;
    for y in 0..to_height {
        sums.fill([0; 3]);
        let (top, bottom) = (edge(y, to_height, from_height), edge(y + 1, to_height, from_height));
        for row in pixels.chunks_exact(from_width.max(1) * 4).take(bottom).skip(top) {
            for (x, sum) in sums.iter_mut().enumerate() {
                let (left, right) = (edge(x, to_width, from_width), edge(x + 1, to_width, from_width));
                for pixel in row[left * 4..right * 4].chunks_exact(4) {
                    for (sum, value) in sum.iter_mut().zip(pixel) {
                        *sum += u32::from(*value);
                    }
                }
            }
        }
        for (x, sum) in sums.iter().enumerate() {
            let columns = edge(x + 1, to_width, from_width) - edge(x, to_width, from_width);
            let count = u32::try_from(columns * (bottom - top)).unwrap_or(u32::MAX).max(1);
            // A mean of bytes is a byte.
            small.extend(sum.map(|sum| u8::try_from(sum / count).unwrap_or(u8::MAX)));
        }
    }
    // Neither is larger than what it was made from.
    let small_size = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
    (Size { width: small_size(to_width), height: small_size(to_height) }, small)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_averaged_whatever_the_sizes() {
        // Left half black, right half white, with a column that is in both.
        let size = Size { width: 7, height: 3 };
        let pixels: Vec<u8> = (0..21).flat_map(|at| [if at % 7 < 3 { 0 } else { 255 }; 4]).collect();
        let (small, bgr) = shrink(size, &pixels, 2);
        assert_eq!((small.width, small.height, bgr.len()), (2, 1, 6));
        assert_eq!(bgr, [0, 0, 0, 255, 255, 255]);
        let (same, bgr) = shrink(size, &pixels, 512);
        assert_eq!((same, bgr.len()), (size, 7 * 3 * 3));
    }

    #[test]
    fn the_same_pixels_are_encoded_once() {
        let size = Size { width: 64, height: 48 };
        let mut pixels = vec![7; 64 * 48 * 4];
        let first = make(size, &pixels, 32, None).unwrap();
        assert!(first.jpeg.is_some_and(|jpeg| jpeg.starts_with(&[0xff, 0xd8])));
        assert_eq!(make(size, &pixels, 32, Some(first.tag)).unwrap(), Thumbnail { tag: first.tag, jpeg: None });
        pixels[0..8].fill(255);
        assert_ne!(make(size, &pixels, 32, Some(first.tag)).unwrap().tag, first.tag);
    }
}

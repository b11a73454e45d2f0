//! A planar 4:2:0 picture whose planes are padded to whole tiles.

use yuv::{BufferStoreMut, YuvConversionMode, YuvPlanarImageMut, YuvRange, YuvStandardMatrix};

use crate::tiles::{TILE, TileMap, TileRect};

/// An I420 picture, BT.601 limited range: what a VP8 decoder assumes (RFC 6386 §9.2), and what VP9 and H.264 are told.
#[derive(Default, Clone)]
pub struct Picture {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Bytes per row of luma, a multiple of 16; chroma has half of it.
    pub stride: usize,
    /// Luma, Cb, Cr.
    pub planes: [Vec<u8>; 3],
}

impl Picture {
    /// A picture with all bytes zero.
    pub(crate) fn new(width: usize, height: usize) -> Self {
        let stride = width.next_multiple_of(TILE);
        // The converter wants whole rows from wherever a rectangle starts, hence one row more than is shown.
        let rows = height.next_multiple_of(TILE) + 2;
        let chroma = stride / 2 * (rows / 2);
        Self { width, height, stride, planes: [vec![0; stride * rows], vec![0; chroma], vec![0; chroma]] }
    }

    /// Stride of a plane in bytes.
    pub(crate) fn stride_of(&self, plane: usize) -> usize {
        if plane == 0 { self.stride } else { self.stride / 2 }
    }

    /// Converts BGRX pixels of a tile rectangle, `width` × `height` of them, packed without padding between rows.
    pub(crate) fn convert(&mut self, rect: &TileRect, width: usize, height: usize, bgrx: &[u8]) {
        let (x, y) = (rect.col * TILE, rect.row * TILE);
        let stride = self.stride;
        let [luma, cb, cr] = &mut self.planes;
        // The converter takes what lies behind whole pairs of rows for the odd last row, so the slices end exactly there.
        let luma_at = y * stride + x;
        let luma_end = luma_at + height * stride;
        let chroma_at = y / 2 * (stride / 2) + x / 2;
        let chroma_end = chroma_at + height.div_ceil(2) * (stride / 2);
        let mut image = YuvPlanarImageMut {
            y_plane: BufferStoreMut::Borrowed(&mut luma[luma_at..luma_end]),
            y_stride: stride as u32,
            u_plane: BufferStoreMut::Borrowed(&mut cb[chroma_at..chroma_end]),
            u_stride: (stride / 2) as u32,
            v_plane: BufferStoreMut::Borrowed(&mut cr[chroma_at..chroma_end]),
            v_stride: (stride / 2) as u32,
            width: width as u32,
            height: height as u32,
        };
        let converted = yuv::bgra_to_yuv420(
            &mut image,
            bgrx,
            (width * 4) as u32,
            YuvRange::Limited,
            YuvStandardMatrix::Bt601,
            YuvConversionMode::Balanced,
        );
        debug_assert!(converted.is_ok(), "sizes match by construction: {converted:?}");
        self.pad_odd_edges(x, y, width, height);
    }

    /// Repeats the last column and row of an odd picture, so that an encoder that wants even sizes can take one more.
    fn pad_odd_edges(&mut self, x: usize, y: usize, width: usize, height: usize) {
        let stride = self.stride;
        let luma = &mut self.planes[0];
        if x + width == self.width && self.width % 2 == 1 {
            for row in y..y + height {
                luma[row * stride + self.width] = luma[row * stride + self.width - 1];
            }
        }
        if y + height == self.height && self.height % 2 == 1 {
            let last = (self.height - 1) * stride;
            luma.copy_within(last + x..last + x + width.next_multiple_of(2), last + stride + x);
        }
    }

    /// Copies those tiles of `rect` that differ from `new`, and adds them to `changed`.
    pub(crate) fn absorb(&mut self, new: &Self, rect: &TileRect, changed: &mut TileMap) {
        for row in rect.row..rect.row + rect.rows {
            for col in rect.col..rect.col + rect.cols {
                if self.absorb_tile(new, col, row) {
                    changed.insert(row * changed.cols() + col);
                }
            }
        }
    }

    fn absorb_tile(&mut self, new: &Self, col: usize, row: usize) -> bool {
        let mut differs = false;
        for plane in 0..3 {
            let edge = if plane == 0 { TILE } else { TILE / 2 };
            let stride = self.stride_of(plane);
            let start = row * edge * stride + col * edge;
            for line in 0..edge {
                let at = start + line * stride..start + line * stride + edge;
                if self.planes[plane][at.clone()] != new.planes[plane][at.clone()] {
                    differs = true;
                    self.planes[plane][at.clone()].copy_from_slice(&new.planes[plane][at]);
                }
            }
        }
        differs
    }

    /// Copies the tiles of `map` from a picture of the same size.
    pub(crate) fn copy_tiles(&mut self, from: &Self, map: &TileMap) {
        map.runs(|row, col, cols| {
            for plane in 0..3 {
                let edge = if plane == 0 { TILE } else { TILE / 2 };
                let stride = from.stride_of(plane);
                for line in row * edge..(row + 1) * edge {
                    let at = line * stride + col * edge..line * stride + (col + cols) * edge;
                    self.planes[plane][at.clone()].copy_from_slice(&from.planes[plane][at]);
                }
            }
        });
    }
}

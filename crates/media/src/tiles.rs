//! Which 16×16 blocks of the picture something applies to: damage, what to encode, what to refine.

/// Edge of a tile in pixels: the macroblock of VP8 and H.264, and the unit of libvpx's active map.
pub(crate) const TILE: usize = 16;

/// A rectangle in whole tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TileRect {
    pub(crate) col: usize,
    pub(crate) row: usize,
    pub(crate) cols: usize,
    pub(crate) rows: usize,
}

impl TileRect {
    fn area(&self) -> usize {
        self.cols * self.rows
    }
}

/// One byte per tile, row by row: 1 = in the set. The layout of `vpx_active_map`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TileMap {
    cols: usize,
    rows: usize,
    set: Vec<u8>,
}

impl TileMap {
    /// An empty set for a picture of this many pixels.
    pub(crate) fn new(width: usize, height: usize) -> Self {
        let (cols, rows) = (width.div_ceil(TILE), height.div_ceil(TILE));
        Self { cols, rows, set: vec![0; cols * rows] }
    }

    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.set
    }

    pub(crate) fn len(&self) -> usize {
        self.set.len()
    }

    pub(crate) fn count(&self) -> usize {
        self.set.iter().map(|&tile| usize::from(tile)).sum()
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.set.iter().all(|&tile| tile == 0)
    }

    pub(crate) fn clear(&mut self) {
        self.set.fill(0);
    }

    pub(crate) fn fill(&mut self) {
        self.set.fill(1);
    }

    pub(crate) fn insert(&mut self, index: usize) {
        self.set[index] = 1;
    }

    /// Whether both are of a picture of the same size.
    pub(crate) fn same_shape(&self, other: &Self) -> bool {
        (self.cols, self.rows) == (other.cols, other.rows)
    }

    /// Adds all tiles of `other`, which has the same shape.
    pub(crate) fn union(&mut self, other: &Self) {
        for (tile, &more) in self.set.iter_mut().zip(&other.set) {
            *tile |= more;
        }
    }

    /// Adds the tiles that a rectangle in pixels touches; what lies outside of the picture is ignored.
    pub(crate) fn insert_pixels(&mut self, x: i32, y: i32, width: u32, height: u32) {
        let span = |start: i32, length: u32, limit: usize| {
            let tile = TILE as i64;
            let from = i64::from(start).max(0) / tile;
            let to = (i64::from(start) + i64::from(length) + tile - 1).div_euclid(tile);
            (from.min(limit as i64) as usize, to.clamp(0, limit as i64) as usize)
        };
        if width == 0 || height == 0 {
            return;
        }
        let (left, right) = span(x, width, self.cols);
        let (top, bottom) = span(y, height, self.rows);
        for row in top..bottom {
            if left < right {
                self.set[row * self.cols + left..row * self.cols + right].fill(1);
            }
        }
    }

    /// Calls `visit(row, first column, number of columns)` for every horizontal run.
    pub(crate) fn runs(&self, mut visit: impl FnMut(usize, usize, usize)) {
        if self.cols == 0 {
            return;
        }
        for (row, line) in self.set.chunks_exact(self.cols).enumerate() {
            let mut col = 0;
            while col < line.len() {
                if line[col] == 0 {
                    col += 1;
                    continue;
                }
                let length = line[col..].iter().take_while(|&&tile| tile != 0).count();
                visit(row, col, length);
                col += length;
            }
        }
    }

    /// Rectangles that cover the set, few enough that a request for each is worth less than copying what lies between:
    /// `request_cost` is the price of one more rectangle in tiles.
    pub(crate) fn cover(&self, request_cost: usize, rects: &mut Vec<TileRect>) {
        rects.clear();
        self.runs(|row, col, cols| {
            let above =
                rects.iter_mut().rev().take(64).find(|r| r.col == col && r.cols == cols && r.row + r.rows == row);
            match above {
                Some(rect) => rect.rows += 1,
                None => rects.push(TileRect { col, row, cols, rows: 1 }),
            }
        });
        if rects.len() < 2 {
            return;
        }
        let left = rects.iter().map(|r| r.col).min().unwrap_or(0);
        let top = rects.iter().map(|r| r.row).min().unwrap_or(0);
        let right = rects.iter().map(|r| r.col + r.cols).max().unwrap_or(0);
        let bottom = rects.iter().map(|r| r.row + r.rows).max().unwrap_or(0);
        let bound = TileRect { col: left, row: top, cols: right - left, rows: bottom - top };
        let single: usize = rects.iter().map(TileRect::area).sum();
        if bound.area() <= single + (rects.len() - 1) * request_cost {
            rects.clear();
            rects.push(bound);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_touch_whole_tiles_and_are_clipped() {
        let mut map = TileMap::new(50, 33);
        assert_eq!((map.cols(), map.rows()), (4, 3));
        map.insert_pixels(15, 16, 2, 1);
        assert_eq!(map.as_bytes(), [0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0]);
        map.clear();
        map.insert_pixels(-5, -5, 6, 6);
        assert_eq!(map.count(), 1);
        map.clear();
        map.insert_pixels(-40, 0, 20, 20);
        map.insert_pixels(64, 0, 20, 20);
        map.insert_pixels(0, 0, 0, 9);
        assert!(map.is_empty());
        map.insert_pixels(-10, -10, 1000, 1000);
        assert_eq!(map.count(), map.len());
    }

    #[test]
    fn cover_merges_what_is_cheap_and_keeps_apart_what_is_not() {
        let mut map = TileMap::new(1280, 720);
        map.insert_pixels(0, 0, 32, 32);
        map.insert_pixels(1240, 700, 16, 16);
        let mut rects = Vec::new();
        map.cover(100, &mut rects);
        assert_eq!(rects.len(), 2);
        assert_eq!(rects[0], TileRect { col: 0, row: 0, cols: 2, rows: 2 });
        map.clear();
        map.insert_pixels(0, 0, 16, 16);
        map.insert_pixels(64, 0, 16, 16);
        map.cover(100, &mut rects);
        assert_eq!(rects, [TileRect { col: 0, row: 0, cols: 5, rows: 1 }]);
    }
}

//! No more points than there are pixels, and none of the extremes lost.

/// A line cut at its gaps.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Thinned {
    /// Each a line of its own.
    pub(super) segments: Vec<Vec<(f64, f64)>>,
    /// Where a value is not finite, or has no place.
    pub(super) gaps: Vec<f64>,
}

/// Points in pixels, by ascending x from 0 to `width`; a y of `None` is a gap. Of every two columns of pixels at most the
/// lowest and the highest point remain, in their order, so there are at most as many points as columns. Few points
/// remain as they are.
pub(super) fn thin(points: impl Iterator<Item = (f64, Option<f64>)> + Clone, width: f64) -> Thinned {
    let columns = (width.max(2.0) / 2.0).floor();
    let mut thinned = Thinned::default();
    if points.clone().count() as f64 <= columns * 2.0 {
        let mut open = Vec::new();
        for (x, y) in points {
            match y {
                Some(y) => open.push((x, y)),
                None => {
                    thinned.gaps.push(x);
                    thinned.close(&mut open);
                }
            }
        }
        thinned.close(&mut open);
        return thinned;
    }
    let mut open = Vec::new();
    let mut column = Column::default();
    for (x, y) in points {
        let number = (x / 2.0).floor().clamp(0.0, columns - 1.0);
        if number != column.number {
            thinned.add(&column, &mut open);
            column = Column { number, ..Column::default() };
        }
        column.take(x, y);
    }
    thinned.add(&column, &mut open);
    thinned.close(&mut open);
    thinned
}

impl Thinned {
    fn close(&mut self, open: &mut Vec<(f64, f64)>) {
        if !open.is_empty() {
            self.segments.push(std::mem::take(open));
        }
    }

    fn add(&mut self, column: &Column, open: &mut Vec<(f64, f64)>) {
        self.gaps.extend(column.gap);
        match (column.lowest, column.highest) {
            (Some(lowest), Some(highest)) => {
                let (first, second) =
                    if lowest.0 <= highest.0 { (lowest, highest) } else { (highest, lowest) };
                open.push(first.1);
                if first.0 != second.0 {
                    open.push(second.1);
                }
            }
            // Of a column with nothing to show: the line ends before it, if it is a gap.
            _ if column.gap.is_some() => self.close(open),
            _ => {}
        }
    }
}

/// Two columns of pixels.
#[derive(Debug, Default)]
struct Column {
    number: f64,
    seen: usize,
    /// With its place in the order of the points.
    lowest: Option<(usize, (f64, f64))>,
    highest: Option<(usize, (f64, f64))>,
    gap: Option<f64>,
}

impl Column {
    fn take(&mut self, x: f64, y: Option<f64>) {
        self.seen += 1;
        let Some(y) = y else {
            self.gap.get_or_insert(x);
            return;
        };
        if self.lowest.is_none_or(|(_, (_, lowest))| y < lowest) {
            self.lowest = Some((self.seen, (x, y)));
        }
        if self.highest.is_none_or(|(_, (_, highest))| y > highest) {
            self.highest = Some((self.seen, (x, y)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::thin;

    #[test]
    fn a_million_points_become_no_more_than_the_pixels_and_keep_their_extremes() {
        let value = |index: u32| if index == 777_777 { 99.0 } else { f64::from(index % 7) };
        let points = (0..1_000_000_u32).map(|index| (f64::from(index) * 300.0 / 1e6, Some(value(index))));
        let thinned = thin(points, 300.0);
        let all: Vec<(f64, f64)> = thinned.segments.concat();
        assert!(all.len() <= 300 && all.len() >= 280, "{}", all.len());
        assert_eq!(all.iter().map(|(_, y)| *y).fold(0.0, f64::max), 99.0);
        assert!(all.is_sorted_by(|a, b| a.0 <= b.0));
        assert_eq!(thinned.segments.len(), 1);
    }

    #[test]
    fn few_points_are_all_kept_and_a_gap_cuts_the_line() {
        let points = [(0.0, Some(1.0)), (5.0, None), (9.0, Some(2.0)), (10.0, Some(3.0))];
        let thinned = thin(points.into_iter(), 100.0);
        assert_eq!(thinned.segments, [vec![(0.0, 1.0)], vec![(9.0, 2.0), (10.0, 3.0)]]);
        assert_eq!(thinned.gaps, [5.0]);
    }

    #[test]
    fn a_gap_among_many_points_is_told_and_cuts_where_it_is_as_wide_as_a_pixel() {
        let value = |index: u32| (!(500..600).contains(&index) && index != 100).then_some(1.0);
        let points = (0..1000_u32).map(|index| (f64::from(index) / 10.0, value(index)));
        let thinned = thin(points, 100.0);
        assert_eq!(thinned.segments.len(), 2);
        assert!(thinned.gaps.contains(&10.0) && thinned.gaps.contains(&50.0) && thinned.gaps.len() == 6);
    }

    #[test]
    fn nothing_comes_of_nothing() {
        assert_eq!(thin(std::iter::empty(), 100.0).segments.len(), 0);
    }
}

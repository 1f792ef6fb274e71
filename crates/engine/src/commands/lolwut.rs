//! LOLWUT: computer art, and the server's version.

use base::rng::Rng;
use base::version::REDIS_VERSION;

use crate::{Args, Cx, Error, Reply, Result};

/// Shows a picture, whose size may be asked for, and the version.
pub(super) fn lolwut(cx: &mut Cx<'_>, args: &mut Args<'_>, out: &mut Reply<'_>) -> Result<()> {
    let mut version = 7;
    if args.left() >= 2 && args.accept("VERSION") {
        version = args.int()?;
    }
    let mut text = match version {
        5 => {
            let columns = size(args, 66, 1000)?;
            let (across, down) = (size(args, 8, 200)?, size(args, 12, 200)?);
            disorder(columns, across, down, &mut cx.server.rng)
        }
        6 => {
            let (columns, rows) = (size(args, 80, 1000)?, size(args, 20, 1000)?);
            skyline(columns, rows, &mut cx.server.rng)
        }
        _ => String::new(),
    };
    text += &format!("Redis ver. {REDIS_VERSION}\n");
    out.verbatim("txt", text.as_bytes());
    Ok(())
}

/// Reads an optional measure and keeps it within bounds.
fn size(args: &mut Args<'_>, default: usize, most: usize) -> Result<usize> {
    match args.next() {
        Err(_) => Ok(default),
        Ok(text) => match base::number::parse_i64(text) {
            Some(number) => Ok(number.clamp(1, most as i64) as usize),
            None => Err(Error::NotInteger),
        },
    }
}

/// A grid of dots, printed eight to a Braille character.
struct Canvas {
    width: usize,
    height: usize,
    dots: Vec<bool>,
}

impl Canvas {
    fn new(width: usize, height: usize) -> Canvas {
        Canvas { width, height, dots: vec![false; width * height] }
    }

    fn set(&mut self, x: f64, y: f64) {
        let (x, y) = (x.round(), y.round());
        if x >= 0.0 && y >= 0.0 && (x as usize) < self.width && (y as usize) < self.height {
            self.dots[y as usize * self.width + x as usize] = true;
        }
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64)) {
        let steps = (to.0 - from.0).abs().max((to.1 - from.1).abs()).ceil().max(1.0);
        for step in 0..=steps as usize {
            let part = step as f64 / steps;
            self.set(from.0 + (to.0 - from.0) * part, from.1 + (to.1 - from.1) * part);
        }
    }

    /// Returns the dots as text; a character's bits are its dots, column by column but for the lowest row:
    ///
    /// ```text
    /// 0 3
    /// 1 4
    /// 2 5
    /// 6 7
    /// ```
    fn text(&self) -> String {
        const BITS: [(usize, usize); 8] = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3)];
        let mut text = String::new();
        for y in (0..self.height).step_by(4) {
            for x in (0..self.width).step_by(2) {
                let dot = |(right, down): (usize, usize)| {
                    let (x, y) = (x + right, y + down);
                    x < self.width && y < self.height && self.dots[y * self.width + x]
                };
                let bits = (0..8).filter(|bit| dot(BITS[*bit])).fold(0, |all, bit| all | 1 << bit);
                text.push(char::from_u32(0x2800 + bits).expect("256 Braille patterns follow U+2800"));
            }
            text.push('\n');
        }
        text
    }
}

/// Draws squares that lose their order from row to row, after Georg Nees' "Schotter" of 1968.
fn disorder(columns: usize, across: usize, down: usize, rng: &mut Rng) -> String {
    let width = columns * 2;
    let side = (width as f64 - 4.0).max(1.0) / across as f64;
    let mut canvas = Canvas::new(width, (side * down as f64) as usize + 4);
    for row in 0..down {
        let disorder = if row < 2 { 0.0 } else { row as f64 / down as f64 };
        for column in 0..across {
            let mut swing = || (rng.float() * 2.0 - 1.0) * disorder;
            let turn = swing();
            let x = (column as f64 + 0.5) * side + 2.0 + swing() * side / 3.0;
            let y = (row as f64 + 0.5) * side + 2.0 + swing() * side / 3.0;
            let corner = |number: usize| {
                let angle = turn + std::f64::consts::FRAC_PI_4 + number as f64 * std::f64::consts::FRAC_PI_2;
                let radius = side / std::f64::consts::SQRT_2;
                (x + angle.sin() * radius, y + angle.cos() * radius)
            };
            for number in 0..4 {
                canvas.line(corner(number), corner(number + 1));
            }
        }
    }
    canvas.text() + "\nAfter Georg Nees' Schotter, 1968. "
}

/// Draws houses with lit windows before the sky, in block characters.
fn skyline(columns: usize, rows: usize, rng: &mut Rng) -> String {
    let mut picture = vec![vec![' '; columns]; rows];
    let mut left = 0;
    while left < columns {
        let width = 5 + rng.below(10) as usize;
        let height = (rows / 3 + rng.below(rows as u64 / 2 + 1) as usize).clamp(1, rows);
        for line in picture.iter_mut().skip(rows - height) {
            for (x, place) in line.iter_mut().enumerate().skip(left).take(width) {
                let window = (x - left) % 3 == 1 && x + 1 < left + width;
                *place = if window && rng.below(3) == 0 { '░' } else { '█' };
            }
        }
        left += width + rng.below(3) as usize;
    }
    let lines: Vec<String> = picture.into_iter().map(|line| line.into_iter().collect()).collect();
    lines.join("\n") + "\n\nA town at night. "
}

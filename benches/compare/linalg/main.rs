//! Time of the products and solves that learning a head asks for: faer beside ndarray, f64.
//!
//! `cargo run --release` in this folder, a crate of its own: faer takes minutes to compile, and
//! edgeclip does without it. One thread; medians of turns; GFLOP/s count two per multiply-add.
//! The solve is the one that edgeclip ships.

#[path = "../../../src/head/linalg.rs"]
#[allow(dead_code)]
mod linalg;

use std::time::Instant;

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par, Side};
use ndarray::Array2;

/// Rows × inner × columns.
const PRODUCTS: [(usize, usize, usize); 3] =
    [(32, 512, 128), (1600, 512, 100), (16_000, 512, 1000)];
const ORDER: usize = 512;

fn main() {
    println!(
        "{:>18} {:>6} | {:>9} {:>9} | {:>9} {:>9}",
        "", "form", "ndarray", "GFLOP/s", "faer", "GFLOP/s"
    );
    for (m, k, n) in PRODUCTS {
        // Forward: features by weights; backward: the gradient of the weights.
        product(m, k, n, false);
        product(m, k, n, true);
    }
    solve();
}

fn noise(rows: usize, columns: usize) -> Array2<f64> {
    let mut random = linalg::Random::new(rows as u64);
    Array2::from_shape_simple_fn((rows, columns), || random.uniform() - 0.5)
}

fn product(m: usize, k: usize, n: usize, backward: bool) {
    let (a, b) = if backward {
        (noise(m, n), noise(m, k))
    } else {
        (noise(m, k), noise(n, k))
    };
    let flops = 2.0 * (m * k * n) as f64;
    let turns = ((2e10 / flops) as usize).clamp(3, 301);
    let (fa, fb) = (view(&a), view(&b));
    let mut c = Mat::<f64>::zeros(if backward { n } else { m }, if backward { k } else { n });
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..turns {
        ours.push(seconds(|| {
            let c = if backward {
                a.t().dot(&b)
            } else {
                a.dot(&b.t())
            };
            std::hint::black_box(c);
        }));
        theirs.push(seconds(|| {
            let (l, r) = if backward {
                (fa.transpose(), fb)
            } else {
                (fa, fb.transpose())
            };
            matmul(c.as_mut(), Accum::Replace, l, r, 1.0, Par::Seq);
            std::hint::black_box(&c);
        }));
    }
    let form = if backward { "AtB" } else { "ABt" };
    print_row(
        &format!("{m}x{k}x{n}"),
        form,
        flops,
        median(ours),
        median(theirs),
    );
}

fn solve() {
    let half = noise(ORDER, ORDER);
    let mut a = half.dot(&half.t());
    a.diag_mut().mapv_inplace(|v| v + 1.0);
    let b = noise(ORDER, 100);
    let flops = (ORDER as f64).powi(3) / 3.0 + 2.0 * (ORDER as f64).powi(2) * 100.0;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..21 {
        ours.push(seconds(|| {
            std::hint::black_box(linalg::solve_spd(a.clone(), b.clone()));
        }));
        theirs.push(seconds(|| {
            use faer::linalg::solvers::Solve;
            let solved = view(&a).llt(Side::Lower).map(|l| l.solve(view(&b)));
            assert!(solved.is_ok());
        }));
    }
    print_row(
        &format!("solve {ORDER} by 100"),
        "llt",
        flops,
        median(ours),
        median(theirs),
    );
}

fn view(a: &Array2<f64>) -> MatRef<'_, f64> {
    let values = a.as_slice().expect("noise stands in rows");
    MatRef::from_row_major_slice(values, a.nrows(), a.ncols())
}

fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn print_row(what: &str, form: &str, flops: f64, ours: f64, theirs: f64) {
    let rate = |s: f64| flops / s / 1e9;
    println!(
        "{what:>18} {form:>6} | {:>6.2} ms {:>9.1} | {:>6.2} ms {:>9.1}",
        ours * 1e3,
        rate(ours),
        theirs * 1e3,
        rate(theirs)
    );
}

//! The plots of the README: a dot for each crate in each row, and the growth of cost.

use std::path::Path;

use plotters::prelude::*;

use crate::growth::CLAIMS;
use crate::report::{self, peers, rows, series};
use crate::run::Found;

const COLOURS: [RGBColor; peers().len()] = [
    RGBColor(200, 30, 30),
    BLACK,
    RGBColor(40, 90, 160),
    RGBColor(90, 150, 60),
    RGBColor(140, 90, 170),
    RGBColor(120, 120, 120),
    RGBColor(220, 140, 20),
    RGBColor(60, 170, 180),
    RGBColor(230, 110, 160),
    RGBColor(140, 90, 40),
    RGBColor(160, 190, 40),
];

type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Draws the instructions of every row as a multiple of those of umqtt, on a logarithmic scale.
pub fn compare(path: &Path, names: &[String], instructions: &Found) -> Drawn {
    let mut rows = rows(names);
    rows.reverse();
    let top = rows.len() as i32;
    let root = SVGBackend::new(path, (960, 60 + 22 * rows.len() as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(10)
        .x_label_area_size(36)
        .y_label_area_size(340)
        .build_cartesian_2d((0.1f64..30f64).log_scale(), -1..top)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE)
        .y_labels(rows.len() + 2)
        .y_label_formatter(&|at| label_at(&rows, *at))
        .x_desc(
            "times the instructions of umqtt, x86-64 (further left is better; at most 30 is shown)",
        )
        .x_label_formatter(&|x| format!("{x}"))
        .draw()?;
    for (peer, colour) in peers().into_iter().zip(COLOURS).rev() {
        let dots = (0..).zip(&rows).filter_map(|(at, row)| {
            let cost = instructions.get(&format!("{row}/{peer}"))?;
            let ratio = cost / instructions.get(&format!("{row}/umqtt"))?;
            Some(Circle::new((ratio.min(30.0), at), 5, colour.filled()))
        });
        let drawn = chart.draw_series(dots)?;
        drawn
            .label(peer)
            .legend(move |at| Circle::new(at, 5, colour.filled()));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE)
        .border_style(BLACK)
        .position(SeriesLabelPosition::UpperRight)
        .draw()?;
    root.present()?;
    Ok(())
}

fn label_at(rows: &[String], at: i32) -> String {
    let row = usize::try_from(at).ok().and_then(|at| rows.get(at));
    row.map_or(String::new(), |row| report::label(row))
}

/// Draws a small chart for each claim.
pub fn growth(path: &Path, instructions: &Found) -> Drawn {
    let root = SVGBackend::new(path, (960, 520)).into_drawing_area();
    root.fill(&WHITE)?;
    for (area, claim) in root.split_evenly((2, 3)).iter().zip(CLAIMS) {
        let points = series(claim.series, instructions);
        let right = points.last().map_or(1.0, |point| point.0) * 1.05;
        let top = points.iter().map(|point| point.1).fold(1.0, f64::max) * 1.2;
        let mut chart = ChartBuilder::on(area)
            .margin(10)
            .caption(claim.series, ("sans-serif", 16))
            .x_label_area_size(36)
            .y_label_area_size(64)
            .build_cartesian_2d(0f64..right, 0f64..top)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_desc(claim.of)
            .y_desc("instructions")
            .x_labels(4)
            .y_labels(5)
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_label_formatter(&|y| format!("{y:.0}"))
            .draw()?;
        chart.draw_series(LineSeries::new(points.clone(), &COLOURS[0]))?;
        chart.draw_series(
            points
                .iter()
                .map(|point| Circle::new(*point, 3, COLOURS[0].filled())),
        )?;
    }
    root.present()?;
    Ok(())
}

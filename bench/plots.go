package main

import (
	"cmp"
	"errors"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// figureSpec is one plot: what is drawn, and what stands at its axes.
type figureSpec struct {
	name, title string
	x, y        string
	logY        bool
	curves      func(r *results, known []test) []curve
}

// curve is a line of a plot, with its points in order.
type curve struct {
	name   string
	points plotter.XYs
}

var figures = []figureSpec{
	{"throughput", "Throughput of one stream by packet size, no offload", "packet size, bytes", "GB/s", true, pointsOf("size", 1)},
	{"latency", "1-byte round trips in process: how long they take", "share of round trips that are slower, %", "µs", true, latencyCurves},
	{"memory", "Memory of an idle connection; kernel/lo: in the kernel, too", "connections", "bytes per end", true, pointsOf("memory", 1)},
	{"connections", "Processor time, connections taking turns: of a segment, of a round trip", "connections", "µs", true, costCurves},
	{"timers", "Beside running timers: a round trip, and a deadline that moves", "timers", "ns", true, pointsOf("timers", 1e3)},
}

// pointsOf is a curve for each entry of the tests of a plot: the medians, times a factor.
func pointsOf(name string, factor float64) func(r *results, known []test) []curve {
	return func(r *results, known []test) (all []curve) {
		for _, t := range known {
			if t.plot.plot != name {
				continue
			}
			for _, e := range t.entries {
				res := r.find(t.id)
				if v := res.values(e.name(), t.plot.key); len(v) > 0 {
					y := factor * (median(v) + median(res.values(e.name(), kernelPerEnd)))
					all = extend(all, e.name(), plotter.XY{X: at(t, e), Y: y})
				}
			}
		}
		for _, c := range all { // tests are in no order of theirs
			slices.SortFunc(c.points, func(a, b plotter.XY) int { return cmp.Compare(a.X, b.X) })
		}
		return all
	}
}

// costCurves are a segment's and, as tests with a plot have it, a round trip's.
func costCurves(r *results, known []test) []curve {
	trips := pointsOf("conns", 1)(r, known)
	bySegment := slices.Clone(known)
	for i := range bySegment {
		if bySegment[i].plot.plot == "conns" {
			bySegment[i].plot.key = perSegment
		}
	}
	all := pointsOf("conns", 1)(r, bySegment)
	for _, c := range trips {
		all = append(all, curve{c.name + tripSuffix, c.points})
	}
	return all
}

// tripSuffix tells the curves of round trips from those of segments.
const tripSuffix = ", round trip"

// at is where an entry's point belongs: peers may have had fewer connections than the test asks of weir.
func at(t test, e entry) float64 {
	o := options{}
	if e.adjust != nil {
		e.adjust(&o)
	}
	if o.Conns != 0 {
		return float64(o.Conns)
	}
	return t.plot.x
}

// extend adds a point to the curve of that name; the same place twice is drawn once.
func extend(all []curve, name string, p plotter.XY) []curve {
	for i := range all {
		if all[i].name == name {
			if last := all[i].points[len(all[i].points)-1]; last.X != p.X {
				all[i].points = append(all[i].points, p)
			}
			return all
		}
	}
	return append(all, curve{name, plotter.XYs{p}})
}

// latencyCurves are the medians over the runs, percentile by percentile.
func latencyCurves(r *results, known []test) (all []curve) {
	for _, t := range known {
		if t.id != "rr" || r.find(t.id) == nil {
			continue
		}
		for _, e := range t.entries {
			samples := r.find(t.id).Samples[e.name()]
			if len(samples) == 0 {
				continue
			}
			for i, p := range samples[0].Curve {
				var v []float64
				for _, s := range samples {
					if i < len(s.Curve) {
						v = append(v, s.Curve[i][1])
					}
				}
				all = extend(all, e.name(), plotter.XY{X: 100 - p[0], Y: max(median(v), .01)})
			}
		}
	}
	return all
}

// drawAll writes each plot that has points as an SVG file.
func drawAll(r *results, known []test, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, f := range figures {
		curves := f.curves(r, known)
		if len(curves) == 0 {
			continue
		}
		if err := f.draw(curves, filepath.Join(dir, f.name+".svg")); err != nil {
			return fmt.Errorf("plot %s: %w", f.name, err)
		}
	}
	return nil
}

// style is how a family of set-ups is drawn everywhere: colours of Okabe and Ito, which colour-blind people can tell apart, and marks
// that differ too.
var style = map[string]struct {
	colour color.RGBA
	mark   draw.GlyphDrawer
	dashes []vg.Length
}{
	"weir":              {color.RGBA{0, 114, 178, 255}, draw.CircleGlyph{}, nil},
	"weir/wheel":        {color.RGBA{86, 180, 233, 255}, draw.RingGlyph{}, []vg.Length{6, 3}},
	"gvisor/pipe":       {color.RGBA{213, 94, 0, 255}, draw.BoxGlyph{}, nil},
	"gvisor/channel":    {color.RGBA{230, 159, 0, 255}, draw.SquareGlyph{}, []vg.Length{6, 3}},
	"gvisor/gso":        {color.RGBA{204, 121, 167, 255}, draw.PyramidGlyph{}, []vg.Length{2, 3}},
	"kernel/lo":         {color.RGBA{0, 158, 115, 255}, draw.TriangleGlyph{}, nil},
	"kernel/veth-plain": {color.RGBA{0, 158, 115, 255}, draw.TriangleGlyph{}, nil},
	"chan":              {color.RGBA{90, 90, 90, 255}, draw.CrossGlyph{}, []vg.Length{1, 3}},
	"chan/work":         {color.RGBA{150, 150, 150, 255}, draw.PlusGlyph{}, []vg.Length{4, 2, 1, 2}},
	"go/timers":         {color.RGBA{90, 90, 90, 255}, draw.CrossGlyph{}, []vg.Length{1, 3}},
}

func (f figureSpec) draw(curves []curve, file string) error {
	p := plot.New()
	p.BackgroundColor = color.White
	p.Title.Padding = 6
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = f.title, f.x, f.y
	for _, text := range []*font.Font{&p.Title.TextStyle.Font, &p.X.Label.TextStyle.Font, &p.Y.Label.TextStyle.Font, &p.X.Tick.Label.Font, &p.Y.Tick.Label.Font, &p.Legend.TextStyle.Font} {
		text.Variant = "Sans"
	}
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, decades{}
	if f.logY {
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, decades{}
	}
	if f.name == "latency" {
		p.X.Scale = plot.InvertedScale{Normalizer: plot.LogScale{}}
	}
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{225}, color.Gray{225}
	p.Add(grid)
	for _, c := range curves {
		if err := addCurve(p, c); err != nil {
			return err
		}
	}
	widen(p)
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.Padding, p.Legend.ThumbnailWidth = 3, 30
	p.Legend.XOffs, p.Legend.YOffs = 8, -4
	return save(p, file)
}

// save writes the plot with a margin, white whatever is behind the page.
func save(p *plot.Plot, file string) error {
	const width, height, margin = 18 * vg.Centimeter, 11 * vg.Centimeter, 10
	c, err := draw.NewFormattedCanvas(width, height, strings.TrimPrefix(filepath.Ext(file), "."))
	if err != nil {
		return err
	}
	whole := draw.New(c)
	whole.SetColor(color.White)
	whole.Fill(whole.Rectangle.Path())
	p.Draw(draw.Crop(whole, margin, -2*margin, margin, -margin))
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = c.WriteTo(f)
	return errors.Join(err, f.Close())
}

func addCurve(p *plot.Plot, c curve) error {
	line, points, err := plotter.NewLinePoints(c.points)
	if err != nil {
		return err
	}
	name, trip := strings.CutSuffix(c.name, tripSuffix)
	s, ok := style[name]
	if !ok {
		return fmt.Errorf("%s has no style", c.name)
	}
	line.Color, line.Width, line.Dashes = s.colour, vg.Points(1.8), s.dashes
	if trip {
		line.Dashes = []vg.Length{2, 3}
	}
	points.Color, points.Shape, points.Radius = s.colour, s.mark, vg.Points(3)
	p.Add(line, points)
	p.Legend.Add(c.name, line, points)
	return nil
}

// widen makes room above the curves for the legend, and ends the axes at round figures.
func widen(p *plot.Plot) {
	span := math.Log10(p.Y.Max / p.Y.Min)
	p.Y.Min /= 1.2
	p.Y.Max *= math.Pow(10, max(.5, .6*span))
}

// decades marks 1, 2 and 5 times each power of ten, or the powers alone if there are many, in plain figures.
type decades struct{}

// Ticks implements plot.Ticker.
func (decades) Ticks(low, high float64) (ticks []plot.Tick) {
	steps := []float64{1, 2, 5}
	if math.Log10(high/low) > 3 {
		steps = steps[:1]
	}
	for e := math.Floor(math.Log10(low)); e <= math.Ceil(math.Log10(high)); e++ {
		for i := 1.; i < 10; i++ {
			v := i * math.Pow(10, e)
			if v < low*.999 || v > high*1.001 {
				continue
			}
			t := plot.Tick{Value: v}
			for _, s := range steps {
				if s == i {
					t.Label = plain(v)
				}
			}
			ticks = append(ticks, t)
		}
	}
	return ticks
}

// plain is a number as one reads it: 0.05, 5, 5 000, 1 M.
func plain(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%g M", math.Round(v/1e3)/1e3)
	case v >= 1000:
		return thousands(v)
	}
	return fmt.Sprintf("%.4g", v)
}

package drill

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/weirnet/weir/internal/stack"
	"github.com/weirnet/weir/sched"
)

// Options of a run.
type Options struct {
	// Trace, if not nil, is told every packet and call as it happens, and what print statements say.
	Trace io.Writer
}

// Mismatch is the error of a run in which something was not as the script says.
type Mismatch struct {
	Name  string // of the script
	Line  int
	Msg   string // what differs
	Event string // the line of the script
	Trace string // what happened until then, a packet or call a line, in the script's language
}

func (m *Mismatch) Error() string {
	text := fmt.Sprintf("%s:%d: %s\n  script: %s", m.Name, m.Line, m.Msg, firstLine(m.Event))
	if m.Trace != "" {
		text += "\n  so far:\n" + m.Trace
	}
	return text
}

func firstLine(s string) string {
	if line, _, more := strings.Cut(s, "\n"); more {
		return line + " …"
	}
	return s
}

// runner runs one script against a host of its own.
type runner struct {
	script *Script
	opts   Options
	clock  *sched.Virtual
	host   *stack.Stack
	dev    *device
	iface  int // its index
	config hostConfig

	at      int        // index of the event under way
	event   *event     // nil before the first
	last    sched.Time // when the event before happened: what relative times count from
	trace   []string
	skipped int // lines of the trace that are no longer kept

	flows                  []*flow
	current                *flow // that a line was about last
	currentTCP, currentUDP *flow
	nextPeerPort           uint16
	lastTCPPort            uint16 // that was bound or listened on
	lastUDPPort            uint16

	files    map[int]*file
	lastFile *file // of the last call
	pending  []*call
	steps    int
	vars     map[string]operand // of assertions
}

// epoch is the wall-clock time at which every run begins: no run is to depend on it.
func epoch() time.Time { return time.Unix(1_000_000_000, 0) }

// Run runs the script against a new host. The error is a *Mismatch if something was not as the script says.
func (s *Script) Run(o Options) (err error) {
	r := &runner{
		script: s, opts: o, clock: sched.NewVirtual(epoch()), config: defaultHostConfig(), files: map[int]*file{}, nextPeerPort: firstPeerPort,
	}
	defer func() {
		if closeErr := r.closeHost(); err == nil {
			err = closeErr
		}
	}()
	for _, h := range s.head {
		if err := r.shell(h); err != nil {
			return r.mismatchAt(h.pos.line, "`"+h.command+"`", "%v", err)
		}
	}
	for i, e := range s.events {
		r.at, r.event = i, e
		if err := r.do(e); err != nil {
			return err
		}
	}
	return r.finish()
}

// do waits for the time of an event and makes it happen, or looks whether it does.
func (r *runner) do(e *event) error {
	begin, end, err := r.times(e)
	if err != nil {
		return err
	}
	if p, ok := e.what.(*packetEvent); ok && !p.in {
		if err := r.makeHost(); err != nil {
			return r.mismatch("%v", err)
		}
		return r.expect(p, begin, end)
	}
	if err := r.advance(begin); err != nil {
		return err
	}
	if err := r.noneMissed(begin); err != nil {
		return err
	}
	r.last = begin
	switch w := e.what.(type) {
	case *shellEvent:
		if err := r.shell(w); err != nil {
			return r.mismatch("%v", err)
		}
		return nil
	case *codeEvent:
		return r.runCode(w)
	}
	if err := r.makeHost(); err != nil {
		return r.mismatch("%v", err)
	}
	switch w := e.what.(type) {
	case *packetEvent:
		b, err := r.inbound(w)
		if err != nil {
			return r.mismatch("%v", err)
		}
		r.note(r.clock.Now(), "<", r.describe(b, r.current, true))
		r.dev.inject(b)
		return r.poll()
	case *callEvent:
		return r.call(w, end)
	}
	return nil
}

// times are the instants between which an event may happen; of a call that waits, its begin and its end.
func (r *runner) times(e *event) (begin, end sched.Time, err error) {
	w := e.when
	switch w.anchor {
	case anytime:
		return r.clock.Now(), sched.Never, nil
	case absolute:
		begin, end = sched.Time(w.begin), sched.Time(w.end)
	case relative:
		begin, end = r.last.Add(w.begin), r.last.Add(w.end)
	}
	if begin < r.last {
		return 0, 0, r.mismatch("its time is %v, before that of the line above, %v", seconds(begin), seconds(r.last))
	}
	return begin, end, nil
}

// maxSteps is more timers than a script can need: a host that sets them for ever is to fail, not to hang.
const maxSteps = 5_000_000

// step runs the host's next timer, if it is not later than limit, and reports whether there was one.
func (r *runner) step(limit sched.Time) (bool, error) {
	if r.host == nil || r.clock.Next() > limit {
		return false, nil
	}
	if r.steps++; r.steps > maxSteps {
		return false, r.mismatch("the host's timers have run %d times", maxSteps)
	}
	r.clock.Step()
	return true, r.poll()
}

// advance lets time pass until t, timers of that instant included.
func (r *runner) advance(t sched.Time) error {
	for {
		ok, err := r.step(t)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
	}
	r.clock.RunUntil(max(t, r.clock.Now()))
	return r.poll()
}

// noneMissed looks for a packet that the host has sent before now and that no line expects.
func (r *runner) noneMissed(now sched.Time) error {
	if r.dev == nil || len(r.dev.sent) == 0 || r.script.set.anyPackets {
		return nil
	}
	first := r.dev.sent[0]
	if first.at.Add(r.script.set.tolerance) >= now {
		return nil
	}
	for _, e := range r.script.events[r.at+1:] {
		if p, ok := e.what.(*packetEvent); ok && !p.in && e.when.anchor == anytime {
			return nil
		} else if ok && !p.in {
			break
		}
	}
	return r.mismatch("before it the host has sent a packet that no line expects:\n  actual: %v > %s", seconds(first.at), r.describe(first.bytes, nil, false))
}

// finish ends the script: calls that wait must come to their end; what the host sends after the last line is its own affair.
func (r *runner) finish() error {
	for len(r.pending) > 0 {
		c := r.pending[0]
		if err := r.advance(c.end.Add(r.script.set.tolerance)); err != nil {
			return err
		}
		if len(r.pending) > 0 && r.pending[0] == c {
			return r.late(c)
		}
	}
	return nil
}

// maxTrace is how many lines of trace are kept.
const maxTrace = 60

// note adds a line to the trace.
func (r *runner) note(at sched.Time, mark, text string) {
	line := fmt.Sprintf("    %v %s %s", seconds(at), mark, text)
	if mark == "" {
		line = fmt.Sprintf("    %v %s", seconds(at), text)
	}
	if r.opts.Trace != nil {
		fmt.Fprintln(r.opts.Trace, strings.TrimSpace(line))
	}
	if len(r.trace) >= maxTrace {
		r.trace = append(r.trace[:0], r.trace[1:]...)
		r.skipped++
	}
	r.trace = append(r.trace, line)
}

// mismatch is an error at the event under way.
func (r *runner) mismatch(format string, args ...any) error {
	if r.event == nil {
		return r.plain(format, args...)
	}
	return r.mismatchAt(r.event.pos.line, r.event.text, format, args...)
}

func (r *runner) mismatchAt(line int, text, format string, args ...any) error {
	trace := strings.Join(r.trace, "\n")
	if r.skipped > 0 {
		trace = fmt.Sprintf("    … %d lines\n", r.skipped) + trace
	}
	return &Mismatch{Name: r.script.name, Line: line, Msg: fmt.Sprintf(format, args...), Event: text, Trace: trace}
}

// plain is an error of no line.
func (r *runner) plain(format string, args ...any) error {
	line, text := 1, ""
	if n := len(r.script.events); n > 0 {
		line, text = r.script.events[n-1].pos.line, r.script.events[n-1].text
	}
	return r.mismatchAt(line, text, format, args...)
}

// seconds prints an instant as scripts have it.
type seconds sched.Time

func (t seconds) String() string {
	if sched.Time(t) == sched.Never {
		return "never"
	}
	sign := ""
	if t < 0 {
		sign, t = "-", -t
	}
	text := fmt.Sprintf("%s%d.%09d", sign, int64(t)/1e9, int64(t)%1e9)
	for strings.HasSuffix(text, "000") && !strings.HasSuffix(text, ".000") {
		text = text[:len(text)-3]
	}
	return text
}

package tcptest

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/wire"
)

// begin is the instant at which scripts begin: an hour, so that there is a time before it.
const begin = sched.Time(time.Hour)

// peerName names the script as a peer: it decides the bytes of its stream.
const peerName = "B"

// runner is a script under way.
type runner struct {
	end    *End
	config tcp.Config
	pool   *buffer.Pool
	now    sched.Time
	irs    tcp.Seq // of the script as a peer
	window uint16  // of segments that do not say
	sent   []sent  // and not expected yet
	lax    bool    // collect: what is sent need not be expected
	trace  []string
}

// sent is a segment that the connection has sent.
type sent struct {
	at  sched.Time
	seg *tcp.Segment
}

// Run runs a script, and returns the first line that did not hold, with what was sent and received up to it. See the package for
// the language.
func Run(script string) error {
	lines, err := parse(script)
	if err != nil {
		return err
	}
	r := &runner{now: begin, irs: 3000000000, window: 65535, pool: buffer.NewPool(buffer.Options{Check: true})}
	r.config.Buffers = r.pool
	r.end = NewEnd("A", &r.config, tcp.Params{ISS: 4294000000, MSS: 1460, GSOMax: 1460}, r.transmit)
	r.end.Params.TSOffset -= uint32(uint64(begin) / uint64(time.Millisecond)) // TSval counts from begin
	for i := range lines {
		l := &lines[i]
		if err := r.run(l); err != nil {
			r.finish()
			return fmt.Errorf("%w%s", l.errorf("%v", err), r.history())
		}
	}
	last := &lines[max(len(lines)-1, 0)]
	if err := r.nothingElse(); err != nil {
		r.finish()
		return fmt.Errorf("%w%s", last.errorf("the script ends, but %v", err), r.history())
	}
	return r.finish()
}

func (r *runner) history() string {
	if len(r.trace) == 0 {
		return ""
	}
	return "\n\tso far:\n\t\t" + strings.Join(r.trace, "\n\t\t")
}

// finish gives everything back and reports what leaks.
func (r *runner) finish() error {
	r.end.Release(r.now)
	for _, s := range r.sent {
		s.seg.Payload.Release()
	}
	if chunks, bytes := r.pool.Outstanding(); chunks != 0 {
		return fmt.Errorf("after the end of the script, %d chunks of %d bytes leak%s", chunks, bytes, r.history())
	}
	return nil
}

// run advances to the instant of l and does what it says.
func (r *runner) run(l *line) error {
	if err := r.advance(r.now.Add(l.after)); err != nil {
		return err
	}
	switch l.verb {
	case ">":
		want, err := parseSegment(l.args)
		if err != nil {
			return err
		}
		return r.expect(want)
	case "state", "err", "event", "deadline", "info":
		return r.check(l.verb, l.args)
	}
	if err := r.nothingElse(); err != nil {
		return err
	}
	switch l.verb {
	case "quiet":
		return nil
	case "collect":
		r.lax = true
		return nil
	case "drain":
		return r.drain(l.args)
	case "<":
		seg, err := parseSegment(l.args)
		if err != nil {
			return err
		}
		return r.inject(seg)
	case "config":
		return r.configure(l.args)
	}
	return r.call(l.verb, l.args)
}

// advance runs what is due up to and including t.
func (r *runner) advance(t sched.Time) error {
	for d := r.end.Deadline(); d <= t; d = r.end.Deadline() {
		r.now = max(r.now, d)
		r.end.Expire(r.now)
		if r.end.Deadline() <= r.now {
			return fmt.Errorf("at %s: the deadline has passed after Expire", r.clock(r.now))
		}
	}
	r.now = t
	return nil
}

func (r *runner) clock(t sched.Time) string { return fmt.Sprintf("%.6f", t.Sub(begin).Seconds()) }

// transmit takes what the connection sends, as the packets of a wire.
func (r *runner) transmit(now sched.Time, seg *tcp.Segment) {
	for _, p := range encode(seg, true) {
		s := sent{at: now, seg: new(tcp.Segment)}
		if err := p.decode(s.seg); err != nil {
			r.trace = append(r.trace, r.clock(now)+" > not a segment: "+err.Error())
			p.payload.Release()
			continue
		}
		r.trace = append(r.trace, r.clock(now)+" > "+format(s.seg, r.end.Params.ISS, r.irs))
		r.sent = append(r.sent, s)
	}
}

// nothingElse fails if something was sent that no line expected.
func (r *runner) nothingElse() error {
	if len(r.sent) == 0 || r.lax {
		return nil
	}
	s := r.sent[0]
	return fmt.Errorf("not expected: %s > %s", r.clock(s.at), format(s.seg, r.end.Params.ISS, r.irs))
}

// drain forgets what was sent since collect, if there was as much as its arguments say.
func (r *runner) drain(args []string) error {
	var least, most int
	if _, err := fmt.Sscan(strings.Join(args, " "), &least, &most); err != nil {
		return errors.New("want MIN MAX")
	}
	n := len(r.sent)
	for len(r.sent) > 0 {
		s := r.take()
		s.seg.Payload.Release()
	}
	r.lax = false
	if n < least || n > most {
		return fmt.Errorf("%d segments were sent", n)
	}
	return nil
}

// expect compares the next segments with a line.
func (r *runner) expect(want *segmentLine) error {
	if len(r.sent) == 0 {
		return fmt.Errorf("nothing was sent")
	}
	s := r.take()
	for s.seg.Payload.Size() < want.size && len(r.sent) > 0 && r.follows(s) {
		next := r.take()
		s.seg.Flags |= next.seg.Flags
		s.seg.Payload.Merge(&next.seg.Payload)
	}
	defer s.seg.Payload.Release()
	if s.at != r.now {
		return fmt.Errorf("sent at %s instead of %s", r.clock(s.at), r.clock(r.now))
	}
	if what := r.difference(want, s.seg); what != "" {
		return fmt.Errorf("%s is different: %s", what, format(s.seg, r.end.Params.ISS, r.irs))
	}
	if want.size > 0 && !want.seq.absolute {
		return checkPattern(&s.seg.Payload, r.end.Name, want.seq.n-1)
	}
	return nil
}

func (r *runner) take() sent {
	s := r.sent[0]
	r.sent = r.sent[1:]
	return s
}

// follows reports whether the next segment continues the data of s at the same instant.
func (r *runner) follows(s sent) bool {
	next := r.sent[0]
	return next.at == s.at && next.seg.Payload.Size() > 0 && next.seg.Seq == s.seg.Seq+tcp.Seq(s.seg.Payload.Size()) && next.seg.Ack == s.seg.Ack
}

// difference names the first item in which got is not what want says.
func (r *runner) difference(want *segmentLine, got *tcp.Segment) string {
	flags := got.Flags
	if want.flags&wire.PSH == 0 {
		flags &^= wire.PSH
	}
	o := &got.Options
	switch {
	case flags != want.flags:
		return "flags"
	case got.Seq != want.seq.seq(r.end.Params.ISS):
		return "sequence number"
	case got.Payload.Size() != want.size:
		return "size"
	case want.ack != nil && got.Ack != want.ack.seq(r.irs):
		return "ack"
	case want.win != nil && int64(got.Window) != want.win.n:
		return "win"
	case want.mss != nil && (!o.HasMSS || int64(o.MSS) != want.mss.n):
		return "mss"
	case want.wscale != nil && (!o.HasWScale || int64(o.WScale) != want.wscale.n):
		return "wscale"
	case want.sackOK && !o.SACKPermitted:
		return "sackOK"
	case want.ts && !(o.TS && is(want.val, o.TSVal) && is(want.ecr, o.TSEcr)):
		return "TS"
	case want.sack != nil && !r.sameSACK(want.sack, o.SACKBlocks()):
		return "sack"
	}
	has := map[string]bool{"mss": o.HasMSS, "sackOK": o.SACKPermitted, "wscale": o.HasWScale, "TS": o.TS, "sack": o.NSACK > 0}
	for _, option := range want.forbidden {
		if has[option] {
			return option
		}
	}
	return ""
}

func is(want *number, got uint32) bool { return want == nil || uint32(want.n) == got }

func (r *runner) sameSACK(want [][2]number, got []wire.SACKBlock) bool {
	if len(want) != len(got) {
		return false
	}
	for i, w := range want {
		if tcp.Seq(got[i].Left) != w[0].seq(r.irs) || tcp.Seq(got[i].Right) != w[1].seq(r.irs) {
			return false
		}
	}
	return true
}

// inject makes a segment arrive.
func (r *runner) inject(s *segmentLine) error {
	if s.forbidden != nil {
		return errors.New("what a segment does not have is not said when it arrives")
	}
	if s.flags&wire.ACK != 0 && s.ack == nil {
		return errors.New("ACK without ack N")
	}
	if s.win != nil {
		r.window = uint16(s.win.n)
	}
	seg := &tcp.Segment{Seq: s.seq.seq(r.irs), Flags: s.flags, Window: r.window, Segs: s.segs}
	if s.ack != nil {
		seg.Ack = s.ack.seq(r.end.Params.ISS)
	}
	if s.urg != nil {
		seg.Urgent = uint16(s.urg.n)
	}
	o := &seg.Options
	if s.mss != nil {
		o.HasMSS, o.MSS = true, uint16(s.mss.n)
	}
	if s.wscale != nil {
		o.HasWScale, o.WScale = true, uint8(s.wscale.n)
	}
	o.SACKPermitted = s.sackOK
	if s.ts {
		if s.val == nil || s.ecr == nil {
			return errors.New("* in the TS of a segment that arrives")
		}
		o.TS, o.TSVal, o.TSEcr = true, uint32(s.val.n), uint32(s.ecr.n)
	}
	for i, b := range s.sack {
		o.SACK[i] = wire.SACKBlock{Left: uint32(b[0].seq(r.end.Params.ISS)), Right: uint32(b[1].seq(r.end.Params.ISS))}
	}
	o.NSACK = uint8(len(s.sack))
	data := make([]byte, s.size)
	first := s.seq.n - 1 // the SYN is 0
	if s.flags&wire.SYN != 0 {
		first++
	}
	for i := range data {
		data[i] = pattern(peerName, first+int64(i))
	}
	seg.Payload.SetPool(r.pool)
	seg.Payload.Append(data)
	r.trace = append(r.trace, r.clock(r.now)+" < "+format(seg, r.irs, r.end.Params.ISS))
	r.end.Input(r.now, seg)
	return nil
}

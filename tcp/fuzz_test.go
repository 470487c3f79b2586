package tcp_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/sched"
	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/tcp/tcptest"
	"github.com/weirnet/weir/wire"
)

// hostile is two ends and a middle that does with their segments what the fuzzer's bytes say.
type hostile struct {
	t     *testing.T
	data  []byte
	now   sched.Time
	end   [2]*tcptest.End
	queue [2][]*tcp.Segment // sent by an end and not delivered
	last  [2]tcp.Segment    // numbers of the last segment that an end sent
	pool  *buffer.Pool
}

func (h *hostile) byte() byte {
	if len(h.data) == 0 {
		return 0
	}
	b := h.data[0]
	h.data = h.data[1:]
	return b
}

// near is a number at or about n.
func (h *hostile) near(n tcp.Seq) tcp.Seq {
	steps := [...]tcp.Seq{0, 1, 2, 100, 1460, 65535, 1 << 20, 1 << 31}
	b := h.byte()
	if b&1 != 0 {
		return n - steps[b>>1&7]
	}
	return n + steps[b>>1&7]
}

// FuzzConn: nothing that a network can contain makes a connection panic, stop asking to be called, send without end, or leak.
func FuzzConn(f *testing.F) {
	f.Add([]byte{0})
	f.Add([]byte{1, 0, 0x40, 0x41, 4, 200, 0x40, 0x41, 5, 0x40, 0x41, 7, 0x40, 0x41})
	f.Add([]byte{3, 0x40, 0x41, 0x40, 4, 250, 14, 250, 0x22, 3, 9, 0x40, 6, 6, 0x43, 8, 1, 0x41, 0x41, 0x40, 6, 6, 6, 6, 18, 8, 18, 9})
	f.Fuzz(func(t *testing.T, data []byte) {
		h := &hostile{t: t, data: data, now: sched.Time(time.Hour), pool: buffer.NewPool(buffer.Options{Check: true})}
		options := h.byte()
		for i := range h.end {
			config := &tcp.Config{Buffers: h.pool, SendBuffer: 1 << 18, ReceiveBuffer: 1 << 18, NoSACK: options&2 != 0, NoTimestamps: options&4 != 0,
				NoWindowScale: options&8 != 0}
			params := tcp.Params{ISS: tcp.Seq(options) << 24, MSS: 1460, GSOMax: 65495}
			h.end[i] = tcptest.NewEnd("AB"[i:i+1], config, params, func(_ sched.Time, seg *tcp.Segment) { h.sent(i, seg) })
		}
		if options&1 != 0 {
			h.end[1].Connect(h.now)
		} else {
			h.end[1].Listen()
		}
		h.end[0].Connect(h.now)
		for steps := 0; len(h.data) > 0 && steps < 2000; steps++ {
			h.step()
		}
		h.finish()
	})
}

func (h *hostile) sent(i int, seg *tcp.Segment) {
	if seg.HeaderLen() > wire.TCPMaxLen {
		h.t.Fatalf("a header of %d bytes", seg.HeaderLen())
	}
	if len(h.queue[i]) > 10000 {
		h.t.Fatal("it sends without end")
	}
	h.last[i].Seq, h.last[i].Ack, h.last[i].Options = seg.Seq, seg.Ack, seg.Options
	copied := &tcp.Segment{Seq: seg.Seq, Ack: seg.Ack, Flags: seg.Flags, Window: seg.Window, Options: seg.Options}
	copied.Payload.Merge(&seg.Payload)
	h.queue[i] = append(h.queue[i], copied)
}

// step does one thing: deliver, change, drop or invent a segment, let time pass, or call.
func (h *hostile) step() {
	op := h.byte()
	i := int(op >> 0 & 1)
	switch e := h.end[i]; op >> 1 & 31 {
	default: // 0x20 and up of the byte: mostly deliver
		h.deliver(i, false)
	case 0:
		h.deliver(i, true)
	case 1:
		h.take(i).Payload.Release()
	case 2:
		if e.Conn != nil {
			e.Write(h.now, int(h.byte())*100)
		}
	case 3:
		if e.Conn != nil {
			e.Read(h.now, int(h.byte())*100, "X") // what arrives is not what was sent
		}
	case 4:
		h.advance(max(0, min(h.end[0].Deadline(), h.end[1].Deadline()).Sub(h.now)))
	case 5:
		h.advance(time.Duration(h.byte()) * time.Millisecond)
	case 6:
		h.invent(i)
	case 7:
		if e.Conn != nil {
			h.call(e)
		}
	}
}

// take takes the oldest segment of end i off the queue.
func (h *hostile) take(i int) *tcp.Segment {
	if len(h.queue[i]) == 0 {
		return &tcp.Segment{Flags: wire.ACK, Seq: h.last[i].Seq, Ack: h.last[i].Ack}
	}
	seg := h.queue[i][0]
	h.queue[i] = h.queue[i][1:]
	return seg
}

func (h *hostile) deliver(i int, change bool) {
	seg := h.take(i)
	if change {
		h.change(seg)
	}
	h.input(1-i, seg)
}

func (h *hostile) input(i int, seg *tcp.Segment) {
	h.end[i].Input(h.now, seg)
}

// change changes one thing in a segment.
func (h *hostile) change(seg *tcp.Segment) {
	switch h.byte() % 8 {
	case 0:
		seg.Seq = h.near(seg.Seq)
	case 1:
		seg.Ack = h.near(seg.Ack)
	case 2:
		seg.Flags ^= 1 << (h.byte() % 9)
	case 3:
		seg.Window = uint16(h.byte()) << (h.byte() % 9)
	case 4:
		seg.Payload.Truncate(int(h.byte()))
	case 5:
		o := &seg.Options
		o.NSACK = h.byte() % 5
		for i := range o.SACK {
			o.SACK[i] = wire.SACKBlock{Left: uint32(h.near(seg.Ack)), Right: uint32(h.near(seg.Ack))}
		}
	case 6:
		seg.Options.TS = h.byte()&1 != 0
		seg.Options.TSVal = uint32(h.near(tcp.Seq(seg.Options.TSVal)))
		seg.Options.TSEcr = uint32(h.near(tcp.Seq(seg.Options.TSEcr)))
	case 7:
		seg.Options.HasMSS, seg.Options.MSS = true, uint16(h.byte())<<8|uint16(h.byte())
		seg.Options.HasWScale, seg.Options.WScale = true, h.byte()
	}
}

// invent makes a segment that the other end never sent.
func (h *hostile) invent(i int) {
	seg := &tcp.Segment{
		Seq: h.near(h.last[1-i].Seq), Ack: h.near(h.last[1-i].Ack), Flags: wire.TCPFlags(h.byte()), Window: uint16(h.byte()) << 8,
		Segs: int(h.byte() % 4), Urgent: uint16(h.byte()),
	}
	seg.Options.TS = h.last[1-i].Options.TS
	seg.Options.TSVal, seg.Options.TSEcr = h.last[1-i].Options.TSVal, h.last[1-i].Options.TSEcr
	seg.Payload.SetPool(h.pool)
	seg.Payload.Append(make([]byte, int(h.byte())*10))
	h.input(i, seg)
}

// advance lets time pass, with all that is due meanwhile.
func (h *hostile) advance(d time.Duration) {
	if d > 1000*time.Hour { // Never
		return
	}
	until := h.now.Add(d)
	for _, e := range h.end {
		for n := 0; e.Deadline() <= until; n++ {
			h.now = max(h.now, e.Deadline())
			e.Expire(h.now)
			if e.Deadline() <= h.now || n > 10000 {
				h.t.Fatalf("%s: Deadline has passed after Expire", e.Name)
			}
		}
	}
	h.now = until
}

func (h *hostile) call(e *tcptest.End) {
	n := int(h.byte())
	switch n % 10 {
	case 0:
		e.CloseWrite(h.now)
	case 1:
		e.CloseRead(h.now)
	case 2:
		e.Close(h.now)
	case 3:
		e.Abort(h.now, syscall.ECONNABORTED)
	case 4:
		e.Conn.SetMSS(h.now, n*16)
	case 5:
		e.Conn.SetKeepAlive(h.now, time.Duration(n)*time.Second, time.Second, 3)
	case 6:
		e.Conn.SetNoDelay(n&64 != 0)
	case 7:
		e.Conn.SetBuffers(n*100, n*200)
	case 8:
		e.Conn.ICMPError(h.now, h.near(h.last[0].Seq), syscall.EHOSTUNREACH, n&64 != 0)
	case 9:
		e.Conn.SetUserTimeout(time.Duration(n) * time.Second)
	}
	e.Conn.Info()
	e.Flush(h.now)
}

// finish checks that the ends give everything back.
func (h *hostile) finish() {
	for i, e := range h.end {
		e.Release(h.now)
		for _, seg := range h.queue[i] {
			seg.Payload.Release()
		}
	}
	if chunks, bytes := h.pool.Outstanding(); chunks != 0 {
		h.t.Fatalf("%d chunks of %d bytes leak", chunks, bytes)
	}
}

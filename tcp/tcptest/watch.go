package tcptest

import (
	"fmt"

	"github.com/weirnet/weir/tcp"
	"github.com/weirnet/weir/wire"
)

// watch checks what one end sends against the rules that hold for every sender, whatever its state. Numbers of the stream are 64 bits
// wide, with the SYN as 0.
type watch struct {
	name string
	peer *watch

	iss     tcp.Seq
	syn     wire.TCPOptions
	started bool
	top     int64 // the next number that was never sent
	acked   int64 // the peer's numbers that it has acknowledged
	edge    int64 // of the peer's numbers: the end of the window that it offers
	heard   int64 // of its own numbers: the end of the peer's window, from segments that have arrived
}

// scale is the shift of the windows that it sends.
func (w *watch) scale() uint8 {
	if w.syn.HasWScale && w.peer.syn.HasWScale {
		return w.syn.WScale
	}
	return 0
}

// wide makes 64 bits of a sequence number near the reference.
func wide(s, iss tcp.Seq, reference int64) int64 {
	return reference + int64(int32(uint32(s-iss)-uint32(reference)))
}

// begin takes a SYN or SYN-ACK.
func (w *watch) begin(seg *tcp.Segment) error {
	if w.started && seg.Seq != w.iss {
		return fmt.Errorf("%s: another initial sequence number", w.name)
	}
	w.started, w.iss, w.syn = true, seg.Seq, seg.Options
	w.top = max(w.top, 1)
	if seg.Payload.Size() != 0 {
		return fmt.Errorf("%s: SYN with data", w.name)
	}
	return nil
}

// sends checks a segment that the end sends.
func (w *watch) sends(seg *tcp.Segment) error {
	if seg.Flags&wire.RST != 0 {
		return nil
	}
	if seg.Flags&wire.SYN != 0 {
		if err := w.begin(seg); err != nil {
			return err
		}
	}
	if seg.Flags&wire.ACK != 0 {
		if err := w.acknowledges(seg); err != nil {
			return err
		}
	}
	if !w.started || seg.Flags&wire.SYN != 0 {
		return nil
	}
	return w.checkData(seg)
}

func (w *watch) acknowledges(seg *tcp.Segment) error {
	ack := wide(seg.Ack, w.peer.iss, w.acked)
	if ack > w.peer.top {
		return fmt.Errorf("%s: acknowledges %d, of which %d were sent", w.name, ack, w.peer.top)
	}
	if ack < w.acked {
		return fmt.Errorf("%s: acknowledges %d after %d", w.name, ack, w.acked)
	}
	w.acked = ack
	edge := ack + int64(seg.Window)
	if seg.Flags&wire.SYN == 0 {
		edge = ack + int64(seg.Window)<<w.scale()
	}
	// RFC 7323 §2.4: what the shift of the window field cuts off may pull the edge back by less than its unit.
	if edge <= w.edge-1<<w.scale() {
		return fmt.Errorf("%s: shrinks the window by %d bytes", w.name, w.edge-edge)
	}
	w.edge = max(w.edge, edge)
	return nil
}

func (w *watch) checkData(seg *tcp.Segment) error {
	begin := wide(seg.Seq, w.iss, w.top)
	size := int64(seg.Payload.Size())
	end := begin + size
	if begin > w.top {
		return fmt.Errorf("%s: a gap: sends from %d after %d", w.name, begin, w.top)
	}
	if beyond := end - w.heard; size > 0 && beyond > 0 && !(size == 1 && beyond == 1) { // one byte may probe (RFC 9293 §3.8.6.1)
		return fmt.Errorf("%s: sends up to %d, %d bytes beyond the window", w.name, end, beyond)
	}
	most := int64(w.peer.mss())
	if size > 0 && min(size, orNone(seg.GSOSize)) > most-int64(seg.Options.Len()) {
		return fmt.Errorf("%s: %d bytes with %d of options, and an MSS of %d (RFC 6691)", w.name, min(size, orNone(seg.GSOSize)),
			seg.Options.Len(), most)
	}
	if err := checkPattern(&seg.Payload, w.name, begin-1); err != nil {
		return err
	}
	if seg.Flags&wire.FIN != 0 {
		end++
	}
	w.top = max(w.top, end)
	return nil
}

// orNone is a GSOSize as a limit.
func orNone(gso int) int64 {
	if gso == 0 {
		return 1 << 30
	}
	return int64(gso)
}

// mss is what the end takes in one segment.
func (w *watch) mss() int {
	if !w.syn.HasMSS {
		return 536
	}
	return int(w.syn.MSS)
}

// hears takes a segment that arrives at the end.
func (w *watch) hears(seg *tcp.Segment) {
	if seg.Flags&wire.ACK == 0 || seg.Flags&wire.RST != 0 || !w.started {
		return
	}
	ack := wide(seg.Ack, w.iss, w.top)
	shift := w.peer.scale()
	if seg.Flags&wire.SYN != 0 {
		shift = 0
	}
	w.heard = max(w.heard, ack+int64(seg.Window)<<shift)
}

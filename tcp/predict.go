package tcp

// Header prediction, as it was called first: on a connection on which all goes well nearly every ACK tells one thing only, and most of what
// acknowledge and recover ask need not be asked. What they do is what is true; here is the part of it that is left then.

// plainAck reports whether seg tells that something in flight has arrived, and nothing else: nothing is, or lately was, lost, late, sent again
// or marked.
func (c *Conn) plainAck(f *flight, seg *Segment) bool {
	b, h, r := &f.board, c.hist, c.rare
	return c.sndUna.Before(seg.Ack) && seg.Options.NSACK == 0 && c.sndWnd > 0 &&
		f.phase == phaseOpen && f.frto == frtoOff && f.dupAcks == 0 && !f.persist &&
		b.sacked|b.lost|b.rtx|len(b.resents) == 0 && b.sackedEnd.AtOrBefore(c.sndUna) &&
		c.usesRACK() && c.ecn == nil && (h == nil || h.settled()) && (r == nil || r.search == nil) && !c.cfg.noPrediction
}

// settled: no ACK is waited for that may tell more about a loss, a probe or a timeout.
func (h *history) settled() bool { return !h.undo.open && !h.probing && !h.inRound && !h.unsampled }

// takePlainAck is acknowledge for a plainAck, when the window was taken.
func (c *Conn) takePlainAck(f *flight, seg *Segment) {
	c.checkAppLimited(f)
	n := ackNews{pipe: f.pipe(), spans: f.board.spans()}
	n.acked = c.advance(f, seg.Ack, &n.delivery)
	c.timeRoundTrip(f, seg, &n)
	c.sampleRate(f, &n)
	c.noteLatest(f, &n)
	if n.lost, n.lostAgain = c.detectByTime(f); n.lost > 0 {
		c.respond(f, &n)
	}
	c.reportAck(f, &n)
	c.noteCarried(&n)
	c.progress(f)
}

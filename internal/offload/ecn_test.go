package offload

import (
	"bytes"
	"testing"

	"github.com/weirnet/weir/wire"
)

// What is joined and cut again has the ECN flags and codepoints that it had: CWR in the first segment only (RFC 3168 §6.1.2), or the ACE
// field of AccECN in each (RFC 9768 §3.3.4).
func TestJoinAndSplitKeepECN(t *testing.T) {
	for _, c := range []struct {
		name         string
		first, later wire.TCPFlags
		tos          uint8
	}{
		{"CWR in the first", wire.CWR, 0, wire.ECT0},
		{"CWR in the first, ECE in all", wire.CWR | wire.ECE, wire.ECE, wire.CE},
		{"ACE 7", wire.AE | wire.CWR | wire.ECE, wire.AE | wire.CWR | wire.ECE, wire.ECT0},
		{"ACE 2", wire.CWR, wire.CWR, wire.CE},
		{"ACE 5", wire.AE | wire.ECE, wire.AE | wire.ECE, wire.ECT1},
	} {
		for _, v6 := range []bool{false, true} {
			pool := pools(t)
			segs := stream(seg{v6: v6, seq: 7, tos: c.tos}, 3*1000+10, 1000)
			for i := range segs {
				segs[i].flags = wire.ACK | c.later
			}
			segs[0].flags = wire.ACK | c.first
			var j Joiner
			joined := j.Join(batchOf(pool, segs))
			if len(joined) != 1 {
				t.Fatalf("%s: %d packets", c.name, len(joined))
			}
			out := Split(pool, joined[0], nil)
			if len(out) != len(segs) {
				t.Fatalf("%s: cut into %d", c.name, len(out))
			}
			for i, p := range out {
				if got, want := flatten(p), segs[i].bytes(); !bytes.Equal(got, want) {
					t.Errorf("%s, v6 %v, segment %d:\n%x\nwant\n%x", c.name, v6, i, got[:60], want[:60])
				}
			}
			releaseAll(out)
		}
	}
}

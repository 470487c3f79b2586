package drill

import (
	"net/netip"

	"github.com/weirnet/weir/internal/stack"
)

// Bits of the sysctl tcp_fastopen.
const (
	fastOpenClient = 1
	fastOpenServer = 2
)

// value is what setsockopt has set an option of TCP to, 0 if nothing.
func (f *file) value(name string) int64 { return f.values[optionName{"IPPROTO_TCP", name}] }

// fastOpenLimit is TCP_FASTOPEN of a listener.
func (r *runner) fastOpenLimit(f *file) int {
	if r.config.fastOpen&fastOpenServer == 0 {
		return 0
	}
	return int(f.value("TCP_FASTOPEN"))
}

// setFastOpen is TCP_FASTOPEN on a socket that may listen already.
func setFastOpen(c *call, f *file, v int64) error {
	if f.listener != nil && c.r.config.fastOpen&fastOpenServer != 0 {
		f.listener.SetFastOpen(int(v))
	}
	return nil
}

// fastConnect says whether connect uses Fast Open: TCP_FASTOPEN_CONNECT.
func (r *runner) fastConnect(f *file) bool {
	return r.config.fastOpen&fastOpenClient != 0 && f.value("TCP_FASTOPEN_CONNECT") != 0
}

// fastWriter is sendto with MSG_FASTOPEN on a socket without a connection: it connects, and what is written goes with the SYN if a cookie is
// known. A call that does not wait writes no more than the SYN carries, and without a cookie nothing, as Linux does it.
func (f *file) fastWriter(c *call, data func() []byte, to netip.AddrPort, dontWait bool) step {
	began, first, done := false, []byte(nil), 0
	set := &c.r.script.set
	if !to.IsValid() {
		to = netip.AddrPortFrom(set.remote(), set.connectPort)
	}
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	if c.r.config.fastOpen&fastOpenClient == 0 {
		return always(fails("EOPNOTSUPP"))
	}
	return func() outcome {
		if !began {
			began = true
			if f.tcp != nil {
				return fails("EISCONN")
			}
			if err := c.r.makeHost(); err != nil {
				return failsBy(err)
			}
			known := c.r.host.FastOpenKnown(to.Addr())
			b := stack.Bound{FastOpen: true}
			if first = data(); known {
				b.Data = first[:min(len(first), set.mtu-80)] // 40 bytes of headers, and 40 of options
				done = len(b.Data)
				f.wroteAt += uint32(done)
			}
			if o := c.beginConnect(f, to, b); o != nil {
				return *o
			}
			switch {
			case dontWait && known:
				return gives(int64(done))
			case dontWait:
				return fails("EINPROGRESS")
			}
		}
		switch err := f.tcp.Connected(); {
		case errIs(err, "EAGAIN"):
			return outcome{wait: true}
		case err != nil:
			return failsBy(f.takeError(err))
		}
		f.connecting = false
		k, err := f.write(first[done:], 0)
		done += k
		f.wroteAt += uint32(k)
		switch {
		case errIs(err, "EAGAIN"):
			return outcome{wait: true}
		case err != nil && done == 0:
			return failsBy(f.takeError(err))
		}
		return gives(int64(done))
	}
}

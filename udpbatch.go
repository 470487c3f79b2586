package weir

import (
	"net"

	"github.com/weirnet/weir/internal/stack"
)

// Datagram is one datagram of a ReadBatch or WriteBatch, or several of one size that are treated as one:
//
//	type Datagram struct {
//		Data      []byte         // WriteBatch: the payload; ReadBatch: room for one
//		Addr      netip.AddrPort // whence it came, whither it goes; of a connected socket's WriteBatch the zero AddrPort will do
//		N         int            // ReadBatch: how many bytes of Data are filled
//		Segment   int            // Data is several datagrams, of so many bytes each but for the last; 0: it is one
//		ECN       uint8          // codepoint in the IP header (RFC 3168 §5); WriteBatch: 0 is what SetTOS says
//		Truncated bool           // ReadBatch: it was larger than Data, and the rest is lost
//	}
//
// It is what recvmmsg and sendmmsg take, with addresses that need no memory of their own.
type Datagram = stack.Datagram

// ReadBatch reads datagrams, at most one into each of ds, and returns how many: it waits for the first, as Read does and with its errors,
// and then takes what is there already. An error comes alone, with n = 0. For ds of length 0 it returns 0, nil at once. It allocates
// nothing.
//
// A datagram that is larger than Data is cut, and Truncated set. After SetGRO(true) one Datagram may be several that came from one place
// with one size: Segment is that size, and Data should have room for 64 KiB.
func (c *UDPConn) ReadBatch(ds []Datagram) (n int, err error) {
	if err := c.rd.expired(); err != nil {
		return 0, c.fail("read", "recvmmsg", c.unlessClosed(err))
	}
	if len(ds) == 0 {
		return 0, nil
	}
	n, err = c.sock.ReadBatch(ds)
	if err == stack.ErrWouldBlock {
		c.rd.acquire(c.stack)
		err = c.unlessClosed(c.rd.await(c.stack, func() (err error) {
			n, err = c.sock.ReadBatch(ds)
			return err
		}))
		c.rd.release()
	}
	if err != nil {
		return 0, c.fail("read", "recvmmsg", err)
	}
	return n, nil
}

// WriteBatch sends datagrams, in order, and returns how many it has sent. If these are not all, the error says why the next was not:
// those before it are on their way, and none after it was looked at. It waits, up to the deadline, while the interface's queue is full.
// It allocates nothing. Errors: as WriteToUDPAddrPort, and syscall.EINVAL for a Segment that is negative or makes more than 64 datagrams.
//
// Of a Datagram with a Segment each part must fit the path's MTU (syscall.EMSGSIZE), all of it 64 KiB; it is one packet through the stack,
// and as far as devices are that cut it themselves (UDP_SEGMENT in Linux). Neighbours in ds that could be sent so, because they have one
// address and codepoint and one size (but for the last, which may be shorter), are. Over IPv4 such datagrams have the DF bit.
func (c *UDPConn) WriteBatch(ds []Datagram) (n int, err error) {
	for i := range ds {
		if err = c.addressed(&ds[i]); err != nil {
			ds, err = ds[:i], &net.OpError{Op: "write", Net: c.name, Source: c.LocalAddr(), Addr: udpAddr(ds[i].Addr), Err: err}
			break
		}
	}
	if n, e := c.sendBatch(ds); e != nil {
		return n, &net.OpError{Op: "write", Net: c.name, Source: c.LocalAddr(), Addr: udpAddr(ds[n].Addr), Err: wrap("sendmmsg", e)}
	}
	return len(ds), err
}

// addressed reports what is wrong with the address of a datagram to be sent.
func (c *UDPConn) addressed(d *Datagram) error {
	remote := c.sock.RemoteAddr()
	switch {
	case remote.IsValid() && d.Addr.IsValid() && d.Addr != remote:
		return net.ErrWriteToConnected
	case !remote.IsValid() && !d.Addr.IsValid():
		return errMissingAddress
	}
	return nil
}

func (c *UDPConn) sendBatch(ds []Datagram) (n int, err error) {
	if err := c.wr.expired(); err != nil {
		return 0, c.unlessClosed(err)
	}
	if n, err = c.sock.WriteBatch(ds); err != stack.ErrWouldBlock {
		return n, err
	}
	c.wr.acquire(c.stack)
	defer c.wr.release()
	err = c.wr.await(c.stack, func() error {
		k, err := c.sock.WriteBatch(ds[n:])
		n += k
		return err
	})
	return n, c.unlessClosed(err)
}

// SetGRO says whether ReadBatch may give several datagrams as one, as UDP_GRO does in Linux. All other methods give them one by one.
func (c *UDPConn) SetGRO(on bool) error {
	if c.closed.Load() {
		return c.setFail()
	}
	c.sock.SetGRO(on)
	return nil
}

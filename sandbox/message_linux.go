package sandbox

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// What the two ends of the socket tell each other, in this order: the parent sends the order, the init says hello, perhaps notices, and
// ready (with the TUN file) or failed; the parent sends execute; the init says started or failed; later the parent may send signals, and
// at last the init says ended. The end of the stream means to either that the other is gone.
const (
	msgOrder   = "order"
	msgHello   = "hello"
	msgNotice  = "notice"
	msgReady   = "ready"
	msgExecute = "execute"
	msgStarted = "started"
	msgFailed  = "failed"
	msgSignal  = "signal"
	msgEnded   = "ended"
)

// message is one of them.
type message struct {
	Kind      string
	Order     *order
	Failure   *failure
	Text      string // of a notice
	Signal    syscall.Signal
	Forwarded bool   // the signal came to the parent, and may have come to the program too
	Status    uint32 // how the program ended, as wait(2) has it
}

// order is what the init is to do.
type order struct {
	Path         string
	Args, Env    []string
	Dir          string
	ExtraFiles   int
	PIDNamespace bool
	MTU          int
	Resolv       string // content of /etc/resolv.conf
}

// failure is an error on its way to the parent.
type failure struct {
	Step  step
	Text  string
	Errno syscall.Errno
	Fix   string
}

// step is what the init was at.
type step string

const (
	stepSubreaper step = "subreaper"
	stepMount     step = "mount"   // the mount namespace as such
	stepProc      step = "proc"    // a fresh /proc
	stepTUN       step = "tun"     // the TUN device
	stepNetwork   step = "network" // addresses and routes
	stepExecute   step = "execute" // the program
)

// Error is what the init said.
func (f *failure) Error() string { return f.Text }

// Unwrap is the errno under it.
func (f *failure) Unwrap() error {
	if f.Errno == 0 {
		return nil
	}
	return f.Errno
}

// asFailure makes err of a step fit to be sent.
func asFailure(s step, err error) *failure {
	f := &failure{Step: s, Text: err.Error()}
	errors.As(err, &f.Errno)
	return f
}

// conn is one end of the socket. Any goroutine may send; one receives.
type conn struct {
	*net.UnixConn
	mu sync.Mutex // over sending
}

const (
	messageHead = 4 // bytes of length in front of a message
	// maxMessage bounds a message. The kernel takes at most 6 MiB of arguments and environment.
	maxMessage = 16 << 20
)

// newConn makes a conn of a socket, which it closes.
func newConn(f *os.File) (*conn, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("descriptor is a %T, not a Unix socket", c)
	}
	return &conn{UnixConn: u}, nil
}

// send sends m, and with it a file if it is not nil.
func (c *conn) send(m message, file *os.File) error {
	var body bytes.Buffer
	body.Write(make([]byte, messageHead))
	if err := gob.NewEncoder(&body).Encode(m); err != nil {
		return err
	}
	b := body.Bytes()
	binary.BigEndian.PutUint32(b, uint32(len(b)-messageHead))
	c.mu.Lock()
	defer c.mu.Unlock()
	if file != nil {
		if err := c.sendFile(b[:1], file); err != nil {
			return err
		}
		b = b[1:]
	}
	_, err := c.Write(b)
	return err
}

// sendFile sends b, one byte, and the file.
func (c *conn) sendFile(b []byte, file *os.File) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	err = raw.Control(func(fd uintptr) {
		_, _, sendErr = c.WriteMsgUnix(b, unix.UnixRights(int(fd)), nil)
	})
	return errors.Join(err, sendErr)
}

// receive returns the next message and the file that came with it, nil if none did. The error is io.EOF if the other end is gone.
func (c *conn) receive() (m message, file *os.File, err error) {
	var head [messageHead]byte
	control := make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := c.ReadMsgUnix(head[:], control)
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil {
		return m, nil, err
	}
	file, err = received(control[:oobn])
	if err == nil {
		_, err = io.ReadFull(c, head[n:])
	}
	size := binary.BigEndian.Uint32(head[:])
	if err == nil && size > maxMessage {
		err = fmt.Errorf("a message of %d bytes", size)
	}
	if err == nil {
		body := make([]byte, size)
		if _, err = io.ReadFull(c, body); err == nil {
			err = gob.NewDecoder(bytes.NewReader(body)).Decode(&m)
		}
	}
	if err != nil && file != nil {
		file.Close()
		file = nil
	}
	return m, file, err
}

// received takes the file out of a control message. They are close-on-exec.
func received(control []byte) (*os.File, error) {
	if len(control) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil || len(fds) == 0 {
			continue
		}
		return os.NewFile(uintptr(fds[0]), "tun"), nil
	}
	return nil, nil
}

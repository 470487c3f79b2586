package tun

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/link"
)

// clone is the device node that every TUN device is opened by.
const clone = "/dev/net/tun"

// Open opens the TUN device of that name, which is made if there is none and vanishes with Close then. In name a "%d" becomes the first
// free number, and "" is "tun%d". The interface is in the network namespace of the calling thread; it gets Options.MTU, if that is not
// 0, and is brought up. It needs CAP_NET_ADMIN, unless `ip tuntap add` made the interface beforehand for this user.
func Open(name string, o Options) (*Device, error) {
	fds, name, err := open(name, o)
	if err != nil {
		return nil, err
	}
	d, err := newDevice(fds, name, o, 0)
	if err != nil {
		closeAll(fds)
	}
	return d, err
}

// OpenFile is OpenFiles for a device with one queue.
func OpenFile(name string, o Options) (*os.File, error) {
	if o.Queues > 1 {
		return nil, &Error{Op: "open", Device: name, Err: fmt.Errorf("Options.Queues is %d, and there is one file for each", o.Queues), Fix: "use OpenFiles"}
	}
	files, err := OpenFiles(name, o)
	if err != nil {
		return nil, err
	}
	return files[0], nil
}

// OpenFiles is Open for a device that another process is to serve: it makes the interface, sets it up, and returns a file for each queue,
// for that process's FromFiles, to which they may be sent over a Unix socket. The interface vanishes when the last such file is closed.
func OpenFiles(name string, o Options) ([]*os.File, error) {
	fds, name, err := open(name, o)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for _, fd := range fds {
		files = append(files, os.NewFile(uintptr(fd), name))
	}
	return files, nil
}

// FromFile is FromFiles for a device with one queue.
func FromFile(f *os.File, o Options) (*Device, error) { return FromFiles([]*os.File{f}, o) }

// FromFiles serves the TUN device that the files are open on, one a queue, made elsewhere, perhaps in another network namespace: by
// OpenFiles, or by any program that sets IFF_TUN, IFF_NO_PI, IFF_VNET_HDR if super-segments are to cross, and IFF_MULTI_QUEUE for several.
// The interface is its maker's: FromFiles configures nothing on it. Options.MTU says what its MTU is; 0 means to ask, which can be done if
// it lies in this namespace, and is 1500 otherwise. The device has copies of the descriptors, in non-blocking mode (which copies share): the
// files stay the caller's to close. They must stay non-blocking while the device is open, for it reads by raw system calls, of which the Go
// scheduler does not know: one that waits holds up the whole program. os.File.Fd makes a file blocking again; os.File.SyscallConn does not.
func FromFiles(files []*os.File, o Options) (*Device, error) {
	if len(files) == 0 || o.Queues > 1 && o.Queues != len(files) {
		err := fmt.Errorf("%d files for Options.Queues of %d", len(files), o.Queues)
		return nil, &Error{Op: "use files", Err: err, Fix: "give one file for each queue"}
	}
	if err := o.check(files[0].Name()); err != nil {
		return nil, err
	}
	var fds []int
	for _, f := range files {
		fd, err := duplicate(f)
		if err != nil {
			closeAll(fds)
			return nil, err
		}
		fds = append(fds, fd)
	}
	d, err := fromFDs(fds, o)
	if err != nil {
		closeAll(fds)
	}
	return d, err
}

// duplicate makes another descriptor of a file, which stays its owner's.
func duplicate(f *os.File) (fd int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, &Error{Op: "use file", Device: f.Name(), Err: err}
	}
	var dupErr error
	if err := raw.Control(func(old uintptr) {
		fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0)
	}); err != nil {
		dupErr = err
	}
	if dupErr != nil {
		return -1, &Error{Op: "copy the descriptor of", Device: f.Name(), Err: dupErr}
	}
	return fd, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

func fromFDs(fds []int, o Options) (*Device, error) {
	device := ""
	for _, fd := range fds {
		name, err := fileInterface(fd)
		if err != nil {
			return nil, err
		}
		if device != "" && name != device {
			err := fmt.Errorf("another file is of %s", device)
			return nil, &Error{Op: "use", Device: name, Err: err, Fix: "give files of one interface"}
		}
		device = name
	}
	mtu := o.MTU
	if mtu == 0 {
		if mtu = 1500; inThisNamespace(fds[0]) {
			if m, err := interfaceMTU(device); err == nil {
				mtu = m
			}
		}
	}
	return newDevice(fds, device, o, mtu)
}

// fileInterface is the name of the interface that a descriptor is open on, which it makes non-blocking.
func fileInterface(fd int) (name string, err error) {
	ifr, _ := unix.NewIfreq("")
	if err := unix.IoctlIfreq(fd, unix.TUNGETIFF, ifr); err != nil {
		return "", &Error{Op: "ask a file for its interface", Err: err, Fix: "give one on which TUNSETIFF has been done"}
	}
	name, flags := ifr.Name(), ifr.Uint16()
	if flags&unix.IFF_TUN == 0 || flags&unix.IFF_NO_PI == 0 {
		return "", &Error{Op: "use", Device: name, Err: fmt.Errorf("its flags are %#x", flags), Fix: "make it with IFF_TUN and IFF_NO_PI"}
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return "", &Error{Op: "make non-blocking", Device: name, Err: err}
	}
	return name, nil
}

// inThisNamespace says whether the interface of a TUN file lies in the calling thread's network namespace. False if that cannot be found
// out: an interface of the same name here would be another one.
func inThisNamespace(fd int) bool {
	ns, err := unix.IoctlRetInt(fd, unix.TUNGETDEVNETNS)
	if err != nil {
		return false
	}
	defer unix.Close(ns)
	var theirs, ours unix.Stat_t
	if unix.Fstat(ns, &theirs) != nil || unix.Stat("/proc/thread-self/ns/net", &ours) != nil {
		return false
	}
	return theirs.Dev == ours.Dev && theirs.Ino == ours.Ino
}

// open makes or takes the interface and sets it up. It returns a file descriptor for each queue, non-blocking, and its name.
func open(name string, o Options) (fds []int, _ string, err error) {
	if err := errors.Join(o.check(name), checkName(name)); err != nil {
		return nil, "", err
	}
	for range max(1, o.Queues) {
		var fd int
		if fd, err = unix.Open(clone, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err != nil {
			err = openError(name, err)
			break
		}
		fds = append(fds, fd)
		if name, err = setInterface(fd, name, o); err != nil { // the first one's name for all
			break
		}
	}
	if err == nil {
		err = configure(name, o.MTU)
	}
	if err != nil {
		closeAll(fds)
		return nil, "", err
	}
	return fds, name, nil
}

// setInterface is TUNSETIFF: from then on fd is the interface's. Kernels that know no IFF_VNET_HDR get it without.
func setInterface(fd int, name string, o Options) (string, error) {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return "", &Error{Op: "create the interface", Device: name, Err: err}
	}
	flags := uint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if o.Queues > 1 {
		flags |= unix.IFF_MULTI_QUEUE
	}
	if !o.NoOffload {
		ifr.SetUint16(flags | unix.IFF_VNET_HDR)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	}
	if o.NoOffload || errors.Is(err, unix.EINVAL) {
		ifr.SetUint16(flags)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	}
	if err != nil {
		return "", createError(name, err, o.Queues > 1)
	}
	return ifr.Name(), nil
}

// negotiate agrees with the kernel on what crosses: whether a virtio-net header is in front of each packet, and which offloads.
func negotiate(fd int, name string, noOffload bool) (vnet bool, offloads link.Offload, err error) {
	ifr, _ := unix.NewIfreq("")
	if err := unix.IoctlIfreq(fd, unix.TUNGETIFF, ifr); err != nil {
		return false, 0, &Error{Op: "ask for the flags of", Device: name, Err: err}
	}
	if ifr.Uint16()&unix.IFF_VNET_HDR == 0 {
		return false, 0, nil
	}
	// Whoever had the file before may have chosen another size.
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, vnetHeaderSize); err != nil {
		return false, 0, &Error{Op: "set the size of the virtio-net header of", Device: name, Err: err, Fix: "use Options.NoOffload"}
	}
	const tcp, ours = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6, link.TxChecksum | link.TxTSO4 | link.TxTSO6 | link.RxJoined
	steps := []struct {
		kernel int
		ours   link.Offload
	}{
		{tcp | unix.TUN_F_USO4 | unix.TUN_F_USO6, ours | link.TxUSO}, // Linux 6.2
		{tcp, ours},
		{unix.TUN_F_CSUM | unix.TUN_F_TSO4, link.TxChecksum | link.TxTSO4 | link.RxJoined},
		{unix.TUN_F_CSUM, link.TxChecksum},
		{0, 0},
	}
	if noOffload {
		steps = steps[len(steps)-1:]
	}
	for _, s := range steps {
		if err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, s.kernel); err == nil {
			return true, s.ours, nil
		}
	}
	return true, 0, nil // a kernel without TUNSETOFFLOAD sends plain packets behind an empty header
}

// configure sets the MTU of the interface, if not 0, and brings it up.
func configure(name string, mtu int) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return &Error{Op: "open a socket to configure", Device: name, Err: err}
	}
	defer unix.Close(s)
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return &Error{Op: "configure", Device: name, Err: err}
	}
	if mtu != 0 {
		if err := setMTU(s, ifr, mtu); err != nil {
			return &Error{Op: fmt.Sprintf("set MTU %d of", mtu), Device: name, Err: err, Fix: fmt.Sprintf("sudo ip link set dev %s mtu %d", name, mtu)}
		}
	}
	if err := setUp(s, ifr); err != nil {
		return &Error{Op: "bring up", Device: name, Err: err, Fix: "sudo ip link set dev " + name + " up"}
	}
	return nil
}

// setMTU does nothing if the MTU is what it should be: a user who may open the interface need not be allowed to configure it.
func setMTU(s int, ifr *unix.Ifreq, mtu int) error {
	if err := unix.IoctlIfreq(s, unix.SIOCGIFMTU, ifr); err == nil && ifr.Uint32() == uint32(mtu) {
		return nil
	}
	ifr.SetUint32(uint32(mtu))
	return unix.IoctlIfreq(s, unix.SIOCSIFMTU, ifr)
}

// setUp does nothing if the interface is up, for the same reason.
func setUp(s int, ifr *unix.Ifreq) error {
	if err := unix.IoctlIfreq(s, unix.SIOCGIFFLAGS, ifr); err != nil {
		return err
	}
	flags := ifr.Uint16()
	if flags&unix.IFF_UP != 0 {
		return nil
	}
	ifr.SetUint16(flags | unix.IFF_UP)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr)
}

// interfaceMTU asks for the MTU of an interface of this namespace.
func interfaceMTU(name string) (int, error) {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(s)
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	err = unix.IoctlIfreq(s, unix.SIOCGIFMTU, ifr)
	return int(ifr.Uint32()), err
}

// openError explains why the device node did not open.
func openError(name string, err error) error {
	e := &Error{Op: "open " + clone + " for", Device: name, Err: err}
	if name == "" {
		e.Op = "open " + clone
	}
	switch {
	case errors.Is(err, unix.ENOENT):
		e.Fix = "sudo modprobe tun; if the node is still missing (a container): " +
			"sudo mkdir -p /dev/net && sudo mknod -m 0666 " + clone + " c 10 200, or start the container with --device " + clone
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		e.Fix = "sudo modprobe tun"
	case errors.Is(err, unix.EACCES):
		e.Fix = "sudo chmod 0666 " + clone
	case errors.Is(err, unix.EPERM):
		e.Fix = "start the container with --device " + clone
	}
	return e
}

// createError explains why TUNSETIFF failed.
func createError(name string, err error, queues bool) error {
	e := &Error{Op: "create the interface", Device: name, Err: err}
	shown := name
	if name == "" {
		shown = "tun0"
	}
	switch {
	case errors.Is(err, unix.EPERM):
		multi := ""
		if queues {
			multi = " multi_queue"
		}
		e.Fix = fmt.Sprintf("sudo ip tuntap add dev %s mode tun user %d%s && sudo ip link set dev %s up, or run with CAP_NET_ADMIN", shown, os.Getuid(), multi, shown)
	case errors.Is(err, unix.EBUSY):
		e.Fix = "end the program that has it open, or choose another name"
	case errors.Is(err, unix.EINVAL):
		e.Fix = "choose another name: an interface of this one exists, and is no TUN device or one for another number of queues (one, or several)"
	}
	return e
}

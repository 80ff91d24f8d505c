package wire

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Server does what the host asks for.
type Server struct {
	boot string

	write sync.Mutex // held for a message
	w     io.Writer

	mu       sync.Mutex
	commands map[uint64]*command // that run, by the number of their request
}

// NewServer returns a Server that answers to w. boot is the name of this boot.
func NewServer(w io.Writer, boot string) *Server {
	return &Server{boot: boot, w: w, commands: map[uint64]*command{}}
}

// Serve announces the boot and answers the requests that it reads, several at
// once, until the reader ends. Commands go on then, and may answer later.
func (s *Server) Serve(r io.Reader) error {
	if err := s.send(response{Boot: s.boot}); err != nil {
		return fmt.Errorf("wire: announcing the boot: %w", err)
	}
	for b := bufio.NewReader(r); ; {
		text, err := b.ReadBytes('\n')
		var req request
		if err == nil && json.Unmarshal(text, &req) == nil && req.ID != 0 {
			go s.answer(req)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("wire: reading requests: %w", err)
		}
	}
}

// send sends one message. An error means that there is nobody to tell it.
func (s *Server) send(resp response) error {
	b, err := line(resp)
	if err != nil {
		return err
	}
	s.write.Lock()
	defer s.write.Unlock()
	_, err = s.w.Write(b)
	return err
}

func (s *Server) answer(req request) {
	var resp response
	err := error(nil)
	if req.Op != opHello && req.Boot != s.boot {
		err = fmt.Errorf("the request is for boot %s, this is %s", req.Boot, s.boot)
	} else {
		resp, err = s.do(req)
	}
	resp.ID, resp.Boot = req.ID, s.boot
	if err != nil {
		resp.Error = err.Error()
	}
	_ = s.send(resp)
}

func (s *Server) do(req request) (response, error) {
	switch req.Op {
	case opHello:
		return response{}, nil
	case opRun:
		return s.run(req)
	case opOutput:
		c, err := s.running(req.Of)
		if err != nil {
			return response{}, err
		}
		return c.output()
	case opSignal:
		c, err := s.running(req.Of)
		if err != nil {
			return response{}, err
		}
		return response{}, unix.Kill(-c.cmd.Process.Pid, unix.Signal(req.Signal))
	case opRead:
		return read(req)
	case opWrite:
		return response{}, write(req)
	}
	return response{}, fmt.Errorf("no operation %q", req.Op)
}

// A command is a shell with its children, which are in its process group.
type command struct {
	cmd            *exec.Cmd
	stdout, stderr *os.File
}

// environment is what commands have. The agent's own tells of its unit.
func environment() []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "LANG=C.UTF-8", "TERM=dumb",
	}
}

// run runs a command to its end. It writes to files in memory, not to pipes:
// what it leaves in the background can neither hold up the answer nor die of a
// pipe that nobody reads.
func (s *Server) run(req request) (response, error) {
	stdout, err := memory("stdout")
	if err != nil {
		return response{}, err
	}
	defer stdout.Close()
	stderr, err := memory("stderr")
	if err != nil {
		return response{}, err
	}
	defer stderr.Close()
	c := &command{cmd: exec.Command("/bin/sh", "-c", req.Command), stdout: stdout, stderr: stderr}
	c.cmd.Stdout, c.cmd.Stderr = stdout, stderr
	c.cmd.Env = environment()
	c.cmd.Dir = "/"
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}

	// Whoever asks for the command from here on finds it.
	s.mu.Lock()
	if err := c.cmd.Start(); err != nil {
		s.mu.Unlock()
		return response{}, err
	}
	s.commands[req.ID] = c
	s.mu.Unlock()
	err = c.cmd.Wait()
	s.mu.Lock()
	delete(s.commands, req.ID)
	s.mu.Unlock()

	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		return response{}, err
	}
	resp, err := c.output()
	status, _ := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	resp.Code = status.ExitStatus()
	if status.Signaled() {
		resp.Code = 128 + int(status.Signal())
	}
	return resp, err
}

// running returns the command of a request that has not ended.
func (s *Server) running(id uint64) (*command, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.commands[id]
	if !ok {
		return nil, errors.New("the command has ended, or never began")
	}
	return c, nil
}

// output returns what the command has written so far.
func (c *command) output() (response, error) {
	stdout, err := content(c.stdout)
	if err != nil {
		return response{}, err
	}
	stderr, err := content(c.stderr)
	return response{Stdout: stdout, Stderr: stderr}, err
}

// memory returns a file that is nowhere.
func memory(name string) (*os.File, error) {
	// Several processes write to it: each at its end.
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making a file in memory: %w", err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, unix.O_APPEND); err != nil {
		return nil, errors.Join(fmt.Errorf("making a file in memory: %w", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil
}

func content(f *os.File) ([]byte, error) {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, maxOutput+1))
	if len(b) > maxOutput {
		return b[:maxOutput], fmt.Errorf("more than %d octets of output", maxOutput)
	}
	return b, err
}

func read(req request) (response, error) {
	f, err := os.Open(req.Path)
	if err != nil {
		return response{}, err
	}
	defer f.Close()
	// Files of the kernel's have no size: read to the end.
	if _, err := f.Seek(req.Offset, io.SeekStart); err != nil {
		return response{}, err
	}
	var b bytes.Buffer
	n, err := io.CopyN(&b, f, chunk)
	if err != nil && !errors.Is(err, io.EOF) {
		return response{}, err
	}
	return response{Data: b.Bytes(), Last: n < chunk}, nil
}

// write writes a chunk beside the file. The last one puts it in place, whole,
// and on the disk: the lab cuts the power.
func write(req request) error {
	dir, name := filepath.Split(req.Path)
	part := filepath.Join(dir, "."+name+".part")
	flags := os.O_WRONLY | os.O_CREATE
	if req.Offset == 0 {
		flags |= os.O_TRUNC
	}
	f, err := os.OpenFile(part, flags, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt(req.Data, req.Offset); err != nil || !req.Last {
		return err
	}
	if err := errors.Join(f.Chmod(req.Mode), f.Sync()); err != nil {
		return err
	}
	if err := os.Rename(part, req.Path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(req.Path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

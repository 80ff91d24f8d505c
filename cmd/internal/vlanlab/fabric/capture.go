package fabric

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// captureLimit is how much is kept: of a longer run the end.
const captureLimit = 16 << 20

// A Capture keeps the frames that come into a switch, also those that a cut
// swallows. What a Prober asks and hears is not among them.
type Capture struct {
	sw     *Switch
	frames []captured
	size   int
}

type captured struct {
	at   time.Time
	data []byte
}

// Capture begins to keep frames, and forgets those that were kept before.
func (s *Switch) Capture() *Capture {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.capture = &Capture{sw: s}
	return s.capture
}

// add keeps a frame, with the lock of the switch held.
func (c *Capture) add(frame []byte, at time.Time) {
	c.frames = append(c.frames, captured{at, frame})
	c.size += len(frame)
	for ; c.size > captureLimit; c.frames = c.frames[1:] {
		c.size -= len(c.frames[0].data)
	}
}

// The file format of packet analysers, with nanoseconds, for Ethernet.
const (
	pcapMagic    = 0xa1b23c4d
	pcapMajor    = 2
	pcapMinor    = 4
	pcapEthernet = 1
)

// WriteTo writes the frames as a pcap file.
func (c *Capture) WriteTo(w io.Writer) (int64, error) {
	c.sw.mu.Lock()
	frames := c.frames
	c.sw.mu.Unlock()
	out := bufio.NewWriter(w)
	written := int64(0)
	put := func(b []byte) {
		n, _ := out.Write(b) // an error stays until Flush
		written += int64(n)
	}
	word := binary.LittleEndian.AppendUint32
	head := word(nil, pcapMagic)
	head = binary.LittleEndian.AppendUint16(head, pcapMajor)
	head = binary.LittleEndian.AppendUint16(head, pcapMinor)
	put(word(word(word(word(head, 0), 0), maxFrame), pcapEthernet))
	for _, f := range frames {
		n := uint32(len(f.data))
		put(word(word(word(word(nil, uint32(f.at.Unix())), uint32(f.at.Nanosecond())), n), n))
		put(f.data)
	}
	if err := out.Flush(); err != nil {
		return written, fmt.Errorf("fabric: writing a capture: %w", err)
	}
	return written, nil
}

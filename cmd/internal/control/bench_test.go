package control

import (
	"io"
	"testing"
)

func BenchmarkStatusOfAThousandInstances(b *testing.B) {
	s := fullStatus()
	for len(s.Instances) < 1000 {
		in := s.Instances[0]
		for range 9 {
			in.History = append(in.History, in.History[0])
			in.Addresses = append(in.Addresses, in.Addresses[0])
		}
		s.Instances = append(s.Instances, in)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := s.write(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

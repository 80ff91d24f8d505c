package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"vipd/vrrp"
)

// What a daemon does and when, at adverts of one second: to be the same for
// both, however long it takes.
const (
	timelineInterval  = time.Second
	timelineTolerance = 20 // ms
	garpDelay         = 5 * time.Second
)

const (
	rowStartFirst   = "start → first advert, over the bound"
	rowStartGARP    = "→ first announcement"
	rowSecondBlock  = "→ second block of announcements, over 5 s"
	rowLowerAdvert  = "lower priority heard → advert"
	rowLowerGARP    = "lower priority heard → announcement"
	rowLowerNext    = "→ next advert, over the interval"
	rowLowerBlock   = "→ second block, over 5 s"
	rowZeroAdvert   = "priority 0 heard as master → advert"
	rowZeroNext     = "→ next advert after it, over the interval"
	rowHigherFrames = "higher priority heard → frames sent"
	rowZeroTakeover = "its priority 0 → advert, over the skew"
	rowOwnerStart   = "owner: start → first advert"
)

// timeline plays the same scenes to both daemons, side by side.
func timeline() measure {
	return measure{
		name:  "timeline",
		title: "what is done and when, adverts every 1s (both at the same time)",
		run: func(ctx context.Context, b *bench, out *outcome) error {
			near := within(timelineTolerance)
			for _, name := range []string{rowStartFirst, rowStartGARP, rowSecondBlock, rowLowerAdvert, rowLowerGARP, rowLowerNext,
				rowLowerBlock, rowZeroAdvert, rowZeroNext, rowZeroTakeover, rowOwnerStart} {
				out.row(name, "ms", near)
			}
			out.row(rowHigherFrames, "frames", within(0))
			s := setup{interval: timelineInterval, priority: backupPriority, interfaces: 1, vrids: 1, vips: 1}
			lab, both, err := stands(ctx, s, 1)
			if err != nil {
				return err
			}
			defer lab.Close()
			n := 2
			if b.opts.quick {
				n = 1
			}
			// The scenes last long and need little: both are played at once, and the
			// first of a pair waits for the second.
			var got [2]sample
			var errs [2]error
			return b.pairs(ctx, out, n, func(ctx context.Context, r rival) (sample, error) {
				if got[r] == nil && errs[r] == nil {
					var wg sync.WaitGroup
					for k, st := range both {
						wg.Go(func() { got[k], errs[k] = b.scenes(ctx, st) })
					}
					wg.Wait()
				}
				s, err := got[r], errs[r]
				got[r], errs[r] = nil, nil
				return s, err
			})
		},
	}
}

// scenes takes one sample.
func (b *bench) scenes(ctx context.Context, st *stand) (sample, error) {
	w, err := st.watch()
	if err != nil {
		return nil, err
	}
	defer w.close()
	began, err := b.play(ctx, st, w)
	if err != nil {
		return nil, err
	}
	seen, err := w.stop()
	if err != nil {
		return nil, err
	}
	got, err := sceneTimes(seen, began, st.setup)
	if err != nil {
		return nil, err
	}
	owner, err := b.ownerStart(ctx, st)
	if err != nil {
		return nil, err
	}
	got[rowOwnerStart] = []float64{owner}
	return got, nil
}

// Priorities of the imaginary router in the scenes.
const lowerPriority = backupPriority - 10

// play runs the daemon through the scenes, and returns when it was started.
func (b *bench) play(ctx context.Context, st *stand, w *watch) (time.Time, error) {
	p, err := b.launch(ctx, st.routers[0], st.rival, st.setup)
	if err != nil {
		return time.Time{}, err
	}
	defer p.stop()
	began := p.began.Round(0)
	if err := w.wait(ctx, masterDown(st.setup.interval, st.setup.priority)+5*time.Second, "an announcement", from(0, announcement)); err != nil {
		return began, fmt.Errorf("%w; it said: %s", err, p.tail())
	}
	for _, scene := range []struct {
		priority uint8
		then     time.Duration
	}{
		{0, 1500 * time.Millisecond},             // priority 0, as master
		{lowerPriority, 6500 * time.Millisecond}, // until the second blocks are over
		{senderPriority, 300 * time.Millisecond},
		{0, 1200 * time.Millisecond}, // priority 0, as backup
	} {
		// Between two adverts, not beside one.
		if err := sleep(ctx, 300*time.Millisecond); err != nil {
			return began, err
		}
		if err := st.say(scene.priority, st.setup.interval); err != nil {
			return began, err
		}
		if err := sleep(ctx, scene.then); err != nil {
			return began, err
		}
	}
	return began, nil
}

// blockGap is the least silence between two blocks of announcements.
const blockGap = 500 * time.Millisecond

// sceneTimes finds in a recording what the daemon did in each scene.
func sceneTimes(seen []sighting, began time.Time, s setup) (sample, error) {
	var said []int // the imaginary router's adverts
	for i, got := range seen {
		if got.from == senderMAC && got.kind == advert {
			said = append(said, i)
		}
	}
	const scenes = 4
	if len(said) != scenes {
		return nil, fmt.Errorf("%d of %d scenes were seen", len(said), scenes)
	}
	var errs []error
	// nth returns the nth frame of a kind after another frame.
	nth := func(n, i int, k kind) time.Time {
		for _, got := range seen[i+1:] {
			if from(0, k)(got) {
				if n--; n < 0 {
					return got.at
				}
			}
		}
		errs = append(errs, fmt.Errorf("after frame %d something is missing", i))
		return time.Time{}
	}
	// block returns the beginning of the block of announcements after a time.
	block := func(begun time.Time) time.Time {
		last := begun
		for _, got := range seen {
			if from(0, announcement)(got) && got.at.After(begun) {
				if got.at.Sub(last) > blockGap {
					return got.at
				}
				last = got.at
			}
		}
		errs = append(errs, errors.New("a second block of announcements is missing"))
		return time.Time{}
	}
	got := make(sample)
	put := func(name string, d time.Duration) { got[name] = []float64{milliseconds(d)} }

	first, announced := nth(0, -1, advert), nth(0, -1, announcement)
	put(rowStartFirst, first.Sub(began)-masterDown(s.interval, s.priority))
	put(rowStartGARP, announced.Sub(first))

	zero := seen[said[0]].at
	answer := nth(0, said[0], advert)
	put(rowZeroAdvert, answer.Sub(zero))
	put(rowZeroNext, nth(1, said[0], advert).Sub(answer)-s.interval)

	lower := seen[said[1]].at
	answer = nth(0, said[1], advert)
	again := nth(0, said[1], announcement)
	put(rowLowerAdvert, answer.Sub(lower))
	put(rowLowerGARP, again.Sub(lower))
	put(rowLowerNext, nth(1, said[1], advert).Sub(answer)-s.interval)
	put(rowSecondBlock, block(again).Sub(announced)-garpDelay)
	put(rowLowerBlock, block(block(again)).Sub(again)-garpDelay)

	put(rowZeroTakeover, nth(0, said[3], advert).Sub(seen[said[3]].at)-skew(s.interval, s.priority))
	frames := 0
	for _, f := range seen[said[2]+1 : said[3]] {
		if f.from == routerMAC(0) {
			frames++
		}
	}
	got[rowHigherFrames] = []float64{float64(frames)}
	return got, errors.Join(errs...)
}

// ownerStart returns how many milliseconds after its start an owner advertises.
func (b *bench) ownerStart(ctx context.Context, st *stand) (float64, error) {
	w, err := st.watch()
	if err != nil {
		return 0, err
	}
	defer w.close()
	s := st.setup
	s.priority = vrrp.PriorityOwner
	p, err := b.launch(ctx, st.routers[0], st.rival, s)
	if err != nil {
		return 0, err
	}
	defer p.stop()
	if err := w.wait(ctx, 5*time.Second, "the owner's advertisement", from(0, advert)); err != nil {
		return 0, err
	}
	seen, err := w.stop()
	if err != nil {
		return 0, err
	}
	return milliseconds(times(seen, from(0, advert))[0].Sub(p.began.Round(0))), nil
}

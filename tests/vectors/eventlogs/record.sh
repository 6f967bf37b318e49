#!/bin/sh
# Records boot logs of a virtual machine: UEFI firmware, shim, GRUB and a kernel, measured into a TPM. Both in software, so it
# runs anywhere, in a few minutes.
#
#     record.sh FOLDER
#
# writes FOLDER/ovmf.bin and FOLDER/ovmf_secure_boot.bin, and beside each a .pcrs with the registers as the TPM had them when
# the log was read: what a replay has to come to. Needs the Debian packages qemu-system-x86, ovmf, swtpm, mtools, fdisk,
# busybox-static and cpio.
set -eu
out=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# Signed by their vendors, as Secure Boot demands; unpacked, not installed.
kernel=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends:/ { print $2; exit }')
apt-get download -q "$kernel" shim-signed grub-efi-amd64-signed
for package in ./*.deb; do dpkg-deb -x "$package" root; done

mkdir -p initrd/bin
cp /bin/busybox initrd/bin/busybox
cat > initrd/init <<'END'
#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t securityfs securityfs /sys/kernel/security
# Kernel messages would get between the lines.
echo 0 > /proc/sys/kernel/printk
echo "=== log"
/bin/busybox base64 /sys/kernel/security/tpm0/binary_bios_measurements
echo "=== pcrs"
for bank in sha1 sha256 sha384; do
    for pcr in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
        file=/sys/class/tpm/tpm0/pcr-$bank/$pcr
        [ -e $file ] && echo "$bank $pcr $(/bin/busybox cat $file)"
    done
done
echo "=== end"
/bin/busybox poweroff -f
END
chmod +x initrd/init
(cd initrd && find . | cpio -o -H newc --quiet | gzip -9n) > initrd.gz

truncate -s 96M disk.img
printf 'label: gpt\nlabel-id: 6B65796C-696D-4531-8000-000000000001\nstart=2048, type=U, uuid=6B65796C-696D-4531-8000-000000000002, name="EFI system"\n' | /sbin/sfdisk -q disk.img
export MTOOLS_SKIP_CHECK=1
esp=disk.img@@1M
mformat -i "$esp" -F -T 190000 -h 16 -s 32 ::
mmd -i "$esp" ::/EFI ::/EFI/BOOT ::/EFI/debian
mcopy -i "$esp" root/usr/lib/shim/shimx64.efi.signed ::/EFI/BOOT/BOOTX64.EFI
mcopy -i "$esp" root/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed ::/EFI/BOOT/grubx64.efi
mcopy -i "$esp" root/boot/vmlinuz-* ::/vmlinuz
mcopy -i "$esp" initrd.gz ::/initrd.img
# Through the EFI stub of the kernel, which hands the log on.
cat > grub.cfg <<'END'
set root=(hd0,gpt1)
linuxefi /vmlinuz console=ttyS0 quiet panic=1 "keylime.quote=one \"two\""
initrdefi /initrd.img
boot
END
mcopy -i "$esp" grub.cfg ::/EFI/debian/grub.cfg

# boot NAME CODE VARS
boot() {
    cp "/usr/share/OVMF/$3" vars.fd
    rm -rf state && mkdir state
    swtpm socket --tpm2 --tpmstate dir=state --ctrl type=unixio,path=swtpm.sock --flags startup-clear &
    tpm=$!
    timeout 500 qemu-system-x86_64 -machine q35,smm=on,accel=tcg -cpu max -m 768 -display none -no-reboot -nic none \
        -global driver=cfi.pflash01,property=secure,value=on -global ICH9-LPC.disable_s3=1 \
        -drive if=pflash,format=raw,unit=0,readonly=on,file="/usr/share/OVMF/$2" \
        -drive if=pflash,format=raw,unit=1,file=vars.fd \
        -drive if=none,id=disk,format=raw,file=disk.img -device virtio-blk-pci,drive=disk,bootindex=1 \
        -chardev socket,id=tpm,path=swtpm.sock -tpmdev emulator,id=tpm0,chardev=tpm -device tpm-crb,tpmdev=tpm0 \
        -serial file:serial.txt -monitor none
    kill "$tpm" 2>/dev/null || true
    wait "$tpm" 2>/dev/null || true
    tr -d '\r' < serial.txt > console.txt
    awk '/^=== pcrs/ { on = 0 } on; /=== log/ { on = 1 }' console.txt | base64 -d > "$out/$1.bin"
    awk '/^=== end/ { on = 0 } on; /^=== pcrs/ { on = 1 }' console.txt > "$out/$1.pcrs"
    [ -s "$out/$1.bin" ] && [ -s "$out/$1.pcrs" ] || { tail -40 console.txt >&2; return 1; }
}

boot ovmf OVMF_CODE_4M.fd OVMF_VARS_4M.fd
boot ovmf_secure_boot OVMF_CODE_4M.ms.fd OVMF_VARS_4M.ms.fd

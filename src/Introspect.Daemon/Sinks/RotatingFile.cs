using System.Globalization;

namespace Introspect.Daemon.Sinks;

/// <summary>When a file is put aside, and how many are kept.</summary>
/// <param name="MaxBytes">A file does not grow beyond this.</param>
/// <param name="Keep">Files kept beside the one that is written.</param>
internal sealed record FileRotation(long MaxBytes, int Keep);

/// <summary>
/// A file to append to that is put aside when it is full: FILE becomes FILE.1, FILE.1 becomes FILE.2, and the oldest goes.
/// What one call writes stays together in one file, and a write that fails leaves nothing of itself behind.
/// </summary>
internal sealed class RotatingFile : Stream
{
    private readonly string _path;
    private readonly FileRotation _rotation;
    private FileStream? _file;

    /// <summary>Opens the file.</summary>
    /// <exception cref="IOException">It cannot be opened.</exception>
    public RotatingFile(string path, FileRotation rotation)
    {
        (_path, _rotation) = (path, rotation);
        _file = Open(path);
    }

    /// <inheritdoc/>
    public override bool CanRead => false;

    /// <inheritdoc/>
    public override bool CanSeek => false;

    /// <inheritdoc/>
    public override bool CanWrite => true;

    /// <inheritdoc/>
    public override long Length => throw new NotSupportedException();

    /// <inheritdoc/>
    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    /// <inheritdoc/>
    public override void Write(ReadOnlySpan<byte> buffer)
    {
        var file = _file ??= Open(_path);
        var before = file.Length;
        if (before != 0 && before + buffer.Length > _rotation.MaxBytes)
        {
            Rotate();
            file = _file!;
        }

        WholeWrite.Append(file, buffer);
    }

    /// <inheritdoc/>
    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    /// <inheritdoc/>
    public override void Flush()
    {
    }

    /// <inheritdoc/>
    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    /// <inheritdoc/>
    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    /// <inheritdoc/>
    public override void SetLength(long value) => throw new NotSupportedException();

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _file?.Dispose();
            _file = null;
        }

        base.Dispose(disposing);
    }

    private void Rotate()
    {
        _file?.Dispose();
        // Unknown until it is open again: an error in between leaves the next write to try.
        _file = null;
        for (var number = _rotation.Keep; number > 0; number--)
        {
            var from = number == 1 ? _path : Aside(number - 1);
            if (File.Exists(from))
            {
                File.Move(from, Aside(number), overwrite: true);
            }
        }

        if (_rotation.Keep == 0)
        {
            File.Delete(_path);
        }

        _file = Open(_path);
    }

    private string Aside(int number) => string.Create(CultureInfo.InvariantCulture, $"{_path}.{number}");

    // Not buffered: what was written is in the file, or the call failed.
    private static FileStream Open(string path) => new(path, new FileStreamOptions
    {
        Mode = FileMode.Append,
        Access = FileAccess.Write,
        Share = FileShare.ReadWrite | FileShare.Delete,
        BufferSize = 0,
        UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead,
    });
}
